# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A compiled model: code, tables and plans, without its weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.runtime import package
from mk.runtime.times import KEPT
from mk.signature import Signature

if TYPE_CHECKING:
    from mk.compiler.manifest import Manifest
    from mk.runtime.engine import Engine


@dataclass(frozen=True)
class Facts:
    """What the text side of a model needs: `max_length` in tokens (None: the model states none), special tokens, the
    model's own sampling defaults, other names of tied parameters (other name -> canonical name), and the names that a
    checkpoint may have for the parts of a parameter."""

    name: str = ""
    max_length: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    signature: Signature | None = None  # of a user's own module: what it takes and returns


@dataclass
class Program:
    """What `mk.compile_module` and `mk.load` return.

    * `manifest`, `arrays`, `code`: as the compiler made them, see `mk.compiler.manifest`;
    * `constants`: values of sources that are no parameters, by name;
    * `files`: text files of the model by name: tokenizer.json, chat_template.jinja, ...;
    * `source`: the folder or file that the weights are in, None if there is none;
    * `weights`: weights at hand in this process (never saved), None if there are none;
    * `seconds`: what making it cost, by phase.
    """

    manifest: Manifest
    arrays: dict[str, np.ndarray[Any, Any]]
    code: bytes
    constants: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    files: dict[str, bytes] = field(default_factory=dict)
    source: str | None = None
    weights: Any = None
    seconds: dict[str, float] = field(default_factory=dict)

    def parameters(self) -> list[str]:
        """Names in the state dict of every weight that an engine needs."""
        names = {name: None for weight in self.manifest["weights"] for name in weight["sources"]}
        return [name for name in names if name not in self.constants]

    def engine(
        self,
        weights: Any = None,
        *,
        pool_pages: int | None = None,
        stall_seconds: float = 2.0,
        seed: int = 0,
        trace_steps: int = KEPT,
        progress: Callable[[int, int], None] | None = None,
    ) -> Engine:
        """Allocates the KV pool and packs the weights.

        `weights` is a folder, a safetensors or GGUF file, a torch module or a mapping of arrays; None takes the
        module's own, or the folder or file that the program was compiled from. On a GPU the arrays may lie there
        already (DLPack or `__cuda_array_interface__`), and "random" makes weights up from `seed`, to measure without a
        checkpoint. `pool_pages`: pages of the KV pool, by
        default enough for every slot at its full length. `stall_seconds`: how long all workers may wait without any
        progress before the run is given up (0: for ever). `trace_steps`: of a program with `trace=True`, how many of
        the last steps `Engine.times` has. `progress`: called with (bytes packed, bytes in all).

        Raises WeightError if the weights do not fit, MkError if there is not enough memory.
        """
        from mk.runtime.engine import Engine

        return Engine(
            self,
            weights,
            pool_pages=pool_pages,
            stall_seconds=stall_seconds,
            seed=seed,
            trace_steps=trace_steps,
            progress=progress,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the package, one file. Raises PackageError if it cannot be written."""
        tensors = {"code": np.frombuffer(self.code, np.uint8)}
        tensors |= {f"array/{name}": array for name, array in self.arrays.items()}
        tensors |= {f"constant/{name}": array for name, array in self.constants.items()}
        tensors |= {f"file/{name}": np.frombuffer(text, np.uint8) for name, text in self.files.items()}
        package.write(
            path, tensors, {"manifest": self.manifest, "facts": asdict(self.facts), "source": self.source}
        )


def load(path: str | os.PathLike[str]) -> Program:
    """Reads a package. Raises PackageError if it is damaged, or made for another version or machine."""
    tensors, texts = package.read(Path(path))

    def group(prefix: str) -> dict[str, np.ndarray[Any, Any]]:
        return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

    facts = texts["facts"]
    signature = facts.get("signature")
    facts = {**facts, "signature": None if signature is None else Signature.of(signature)}
    return Program(
        texts["manifest"],
        group("array/"),
        tensors["code"].tobytes(),
        group("constant/"),
        Facts(**{**facts, "eos_token_ids": tuple(facts["eos_token_ids"])}),
        {name: value.tobytes() for name, value in group("file/").items()},
        texts["source"],
    )
