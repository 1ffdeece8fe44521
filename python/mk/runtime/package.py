# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The package: one safetensors file with a program's code, tables and plans as tensors, the manifest as metadata.

| tensor | dtype, shape | meaning |
|---|---|---|
| `code` | uint8 [bytes] | the shared library |
| `array/NAME` | | an array of the compiler (see `mk.compiler.manifest`) |
| `constant/NAME` | | the value of a source that is no parameter, such as rope frequencies |
| `file/NAME` | uint8 [bytes] | a text file of the model, such as tokenizer.json |

Metadata: `format` = "mk-package", `manifest`, `facts` and `source` as JSON, `digest` over all of it. Weights are not
in a package.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from mk.errors import PackageError
from mk.runtime.validate import check_fits_machine, check_manifest

Arrays = dict[str, np.ndarray[Any, Any]]
_FORMAT = "mk-package"


def write(
    path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray[Any, Any]], texts: Mapping[str, Any]
) -> None:
    """Writes a package; `path` has either the whole of it or what it had before. Raises PackageError if it cannot."""
    from safetensors.numpy import save_file

    target = Path(os.path.realpath(path))  # a link stays one
    temporary = None
    try:
        if target.exists() and not target.is_file():  # root could replace even a device
            raise OSError("it is a folder or a device, not a file")
        contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        metadata = {name: json.dumps(value, sort_keys=True) for name, value in texts.items()}
        metadata = {"format": _FORMAT, "digest": _digest(contiguous, metadata), **metadata}
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
        os.close(handle)
        save_file(contiguous, temporary, metadata)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp made it private
        os.replace(temporary, target)
        temporary = None
    except Exception as error:  # safetensors wraps what the system says in an exception of its own
        raise PackageError(f"{target}: cannot be written: {error}") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def read(path: str | os.PathLike[str]) -> tuple[Arrays, dict[str, Any]]:
    """All tensors and the metadata of a package that this machine can run.

    Raises PackageError if the file is not a package, is damaged, or was made for another version or machine.
    """
    from safetensors import safe_open

    if not Path(path).is_file():
        raise PackageError(f"{path}: not a file" if Path(path).exists() else f"{path}: no such file")
    try:
        with safe_open(path, framework="np") as file:
            metadata = dict(file.metadata() or {})
            if metadata.pop("format", None) != _FORMAT:
                raise PackageError(f"{path}: not a package of mk; make one with mk compile")
            tensors = {name: cast("np.ndarray[Any, Any]", file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except PackageError:
        raise
    except Exception as error:  # its errors share no base class
        raise PackageError(f"{path}: not a whole package ({error}); compile the model again") from error
    if metadata.pop("digest", None) != _digest(tensors, metadata):
        raise PackageError(
            f"{path}: damaged: its contents do not match their digest; compile the model again"
        )
    texts = {name: json.loads(value) for name, value in metadata.items()}
    for name in ("manifest", "facts", "source"):
        if name not in texts:
            raise PackageError(f"{path}: damaged: it has no {name}; compile the model again")
    arrays = {
        name.removeprefix("array/"): value for name, value in tensors.items() if name.startswith("array/")
    }
    try:
        check_manifest(texts["manifest"], arrays, "code" in tensors)
        check_fits_machine(texts["manifest"]["target"])
    except PackageError as error:
        raise PackageError(f"{path}: {error}") from None
    return tensors, texts


def _digest(tensors: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(metadata):
        digest.update(f"{name}\0{metadata[name]}\0".encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()
