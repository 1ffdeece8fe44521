# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The cache of compiled programs and packed weights: `$XDG_CACHE_HOME/mk`, else `~/.cache/mk`.

Nothing depends on it: what is missing or damaged is made again, and where it cannot be written mk warns once.
`MK_CACHE=0` turns it off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mk.errors import MkWarning, PackageError
from mk.runtime.native import Memory, library, physical_cores

_MAGIC = b"mk packed weights 1\n"
_HEADER = 4096  # bytes; the arenas follow
_DIGEST = 32  # bytes at the end of the header
_warned = False


def folder() -> Path | None:
    """Where the cache is, None if it is turned off."""
    if os.environ.get("MK_CACHE") == "0":
        return None
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mk"


def key(*parts: Any) -> str:
    """A hash of JSON-able parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def path(name: str) -> Path | None:
    """The file of an entry, whether it exists or not; None if the cache is turned off."""
    base = folder()
    return None if base is None else base / name


def write(name: str, writer: Callable[[Path], None]) -> Path | None:
    """Lets `writer` fill a temporary file and moves it to its name at once, so that no reader sees half of it.

    Returns where it is, or None, after a warning, if it cannot be written.
    """
    global _warned
    target = path(name)
    if target is None:
        return None
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
        os.close(handle)
        writer(Path(temporary))
        os.replace(temporary, target)
        return target
    except (OSError, PackageError) as error:
        if not _warned:
            _warned = True
            reason = getattr(error, "strerror", None) or error
            warnings.warn(
                f"{target.parent}: the cache cannot be written ({reason}); going on without it",
                MkWarning,
                stacklevel=2,
            )
        return None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def files_identity(source: str | os.PathLike[str]) -> list[tuple[str, int, int]] | None:
    """(path, bytes, nanoseconds of the last change) of every file of a checkpoint; None if there is none.

    `source` is a file or a folder. Equal identities mean that the weights and the model are the same.
    """
    base = Path(source).resolve()
    try:
        kinds = {".safetensors", ".gguf", ".json", ".jinja", ".model"}
        files = (
            [base]
            if base.is_file()
            else sorted(f for f in base.iterdir() if f.suffix in kinds and f.is_file())
        )
        found = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    except OSError:
        return None
    return found or None


def compiler_identity() -> list[tuple[str, int, int]]:
    """What changes whenever the compiler or the importer does."""
    base = Path(__file__).parent.parent
    files = [
        f
        for part in ("compiler", "importer", "weights")
        for f in (base / part).rglob("*")
        if f.suffix in (".py", ".so")
    ]
    return [(str(f.relative_to(base)), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(files)]


def machine_identity() -> list[Any]:
    """What the compiler may have looked at when it was told to compile for this machine."""
    return [platform.machine(), sorted(machine_flags()), physical_cores()]


def machine_flags() -> frozenset[str]:
    """The processor's features as Linux names them; empty if it does not say."""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return frozenset(value.split())
    except OSError:
        pass
    return frozenset()


def load_packed(name: str, arenas: list[Memory]) -> bool:
    """Fills the arenas from an entry; False if there is none of exactly this size, and then they hold anything."""
    source = path(name)
    if source is None:
        return False
    try:
        with open(source, "rb") as file:
            header = file.read(_HEADER)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return False
    empty = _header(arenas, b"")
    if len(header) != _HEADER or size != _HEADER + sum(a.size for a in arenas):
        return False
    if header[:-_DIGEST] != empty[:-_DIGEST]:
        return False
    offset = _HEADER
    for arena in arenas:
        if library().mk_read_file(os.fsencode(source), offset, arena.address, arena.size, physical_cores()):
            return False
        offset += arena.size
    return header[-_DIGEST:] == _sampled_digest(arenas)


def save_packed(name: str, arenas: list[Memory]) -> None:
    """Stores the arenas under a name."""

    def writer(target: Path) -> None:
        with open(target, "wb") as file:
            file.write(_header(arenas, _sampled_digest(arenas)))
            for arena in arenas:
                file.write(arena.bytes.data)

    write(name, writer)


def _header(arenas: list[Memory], digest: bytes) -> bytes:
    sizes = _MAGIC + json.dumps([a.size for a in arenas]).encode()
    return sizes.ljust(_HEADER - _DIGEST, b"\0") + digest.ljust(_DIGEST, b"\0")


def _sampled_digest(arenas: list[Memory]) -> bytes:
    """Of 4 KiB in each 256 KiB: finds blocks that a crash left unwritten, at a cost that a warm start does not feel."""
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for arena in arenas:
        for begin in range(0, arena.size, 1 << 18):
            digest.update(arena.bytes[begin : min(begin + 4096, arena.size)].data)
    return digest.digest()
