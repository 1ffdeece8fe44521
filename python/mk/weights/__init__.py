# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Weights by name, from whatever holds them; each array is read only when it is asked for.

Needs numpy and ml_dtypes, plus safetensors or gguf for files of that kind. A GGUF file has names of its own, so
opening one by Hugging Face names needs transformers and torch as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mk.errors import WeightError
from mk.weights.weights import Entry, Weights, from_arrays

__all__ = ["Entry", "Weights", "open_weights"]


def open_weights(source: Any) -> Weights:
    """Weights of `source`, named as in the Hugging Face state dict.

    `source` is a torch module (its own tensors, without a copy where possible), a folder with safetensors or one GGUF
    file, a `.safetensors` or `.gguf` file, a mapping of arrays, or Weights. Raises WeightError if it is none of these,
    or if a file is damaged.
    """
    if isinstance(source, Weights):
        return source
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(source, torch.nn.Module):
        from mk.weights.torch_module import module_weights

        return module_weights(source)
    if isinstance(source, Mapping):
        return from_arrays(source)
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source))
    raise WeightError(
        f"cannot read weights from a {type(source).__name__}; give a folder, a .safetensors or .gguf file, "
        "a torch module or a mapping of arrays"
    )


def _open_path(path: Path) -> Weights:
    from mk.weights.safetensors_folder import folder_weights, has_safetensors, safetensors_weights

    if path.suffix == ".safetensors" and path.is_file():
        return safetensors_weights(path)
    if path.is_dir() and has_safetensors(path):
        return folder_weights(path)
    gguf = find_gguf(path)
    if gguf is not None:
        from mk.weights.gguf_file import GgufFile
        from mk.weights.gguf_names import gguf_weights

        return gguf_weights(GgufFile(gguf))
    if not path.exists():
        raise WeightError(f"{path}: no such file or folder")
    if path.is_dir() and any(path.glob("*.bin")):
        raise WeightError(
            f"{path}: holds only pickled weights (.bin), which mk does not read because loading them can "
            "run code; save the model as safetensors"
        )
    raise WeightError(f"{path}: no .safetensors or .gguf weights here")


def find_gguf(path: Path) -> Path | None:
    """The GGUF file that `path` is or, as a folder, holds; None if there is none.

    Raises WeightError if it holds several.
    """
    if path.suffix == ".gguf" and path.is_file():
        return path
    found = sorted(path.glob("*.gguf")) if path.is_dir() else []
    if len(found) > 1:
        raise WeightError(f"{path}: holds {len(found)} GGUF files; give the path of the one to use")
    return found[0] if found else None
