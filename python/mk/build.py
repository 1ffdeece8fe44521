# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From a model to a program: import, compile, and the cache that saves both the next time."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mk
from mk.errors import CompileError, PackageError
from mk.program import Facts, Program, load
from mk.runtime import cache, text
from mk.runtime.validate import FORMAT

if TYPE_CHECKING:
    from mk.compiler import Compiled, Options
    from mk.importer import ImportedModel

Progress = Callable[[str], None]

SEQUENCES = 8  # of a program if nobody says how many

# On a GPU: heads of which 256 positions come as fast as 128 of longer ones, so that half as many ranges do.
SHORT_HEAD = 64


def compile_module(
    model: Any,
    target: str = "auto",
    dtype: str | None = None,
    max_sequences: int | None = None,
    max_length: int = 2048,
    *,
    inputs: Any = None,
    dynamic: Any = None,
    progress: Progress | None = None,
    use_cache: bool = True,
    dump: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Any:
    """Compiles a model for this machine, or takes the program from the cache if nothing has changed: a `Program`.

    `model` is a Hugging Face causal LM (as a module), its folder or Hugging Face id (looked up on this machine, never
    downloaded), or a GGUF file. `max_sequences` is 8 if it is not given, or `max_tokens` if that is less. `max_length`
    is in tokens and at most what the model was made for. `options`: see `mk.compiler.Options`. `progress` is called
    with the name of each phase as it begins. `dump`: a folder for the module after each level; `use_cache=False` and
    `dump` always compile. `dtype`: bfloat16 for a language model if it is not given.

    With `inputs`, `model` is any `nn.Module` from tensors to tensors, and the result a `mk.Function`, called like it:

        >>> f = mk.compile_module(block, inputs=(x,), dynamic={"x": {0: Dim("batch"), 1: Dim("length", max=512)}})
        >>> y = f(x)

    `inputs` are examples: their shapes and dtypes count, not their values. Leading dimensions (batch and length, or one
    of them) are rows, which only attention may relate, along the length; the last one is columns. `dynamic` says which
    leading dimensions may vary, as `dynamic_shapes` of torch.export does; others stay as in the example. `dtype` is
    float32 here if the module's parameters are, but bfloat16 on a GPU; `max_length` is at most what `dynamic` allows.

    Raises CompileError, naming the module path and the reason, if the model or an option is not supported, and
    WeightError if the checkpoint does not fit the model.
    """
    if max_sequences is None:
        tokens = options.get("max_tokens")
        max_sequences = tokens if isinstance(tokens, int) and 0 < tokens < SEQUENCES else SEQUENCES
    if inputs is not None:
        from mk.build_function import compile_function

        sizes = {"max_sequences": max_sequences, "max_length": max_length, **options}
        return compile_function(
            model, inputs, dynamic, {"target": target, "dtype": dtype, **sizes}, progress, use_cache, dump
        )
    if dynamic is not None:
        raise CompileError("dynamic is given without inputs")
    if type(model).__module__ == "mk.ir.module":
        raise CompileError("the model is an mk.ir.Module; mk.compile_ir goes on from there")
    options = {
        "target": target,
        "dtype": dtype or "bfloat16",
        "max_sequences": max_sequences,
        "max_length": max_length,
        **options,
    }
    from mk.compiler import Options

    Options.of(**options)  # a mistake shows before the model is read
    began = time.perf_counter()
    use_cache = use_cache and dump is None
    place = find_place(model)
    entry = None
    if use_cache and place is not None and (files := cache.files_identity(place)) is not None:
        entry = cache_entry(files, options)
        found = cached_program(entry)
        if found is not None:
            found.seconds["load program"] = time.perf_counter() - began
            return found
    report = progress or (lambda phase: None)
    report("load the importer")
    from mk.importer import import_model

    imported = import_model(place if place is not None else model, progress=report)
    if entry is None and use_cache:
        entry = cache_entry([fingerprint(imported)], options)
        found = cached_program(entry)
        if found is not None:
            found.source, found.weights = None, imported.weights
            return found
    program = compile_program(imported, options, None if dump is None else Path(dump), report, began)
    program.source = os.fspath(place) if place is not None else None
    report("tokenizer")
    program.files = model_files(place if place is not None else getattr(model, "name_or_path", None))
    if entry is not None:
        cache.write(entry, program.save)
    return program


def compile_program(
    imported: ImportedModel,
    options: dict[str, Any],
    dump: Path | None,
    report: Progress,
    began: float,
) -> Program:
    from mk.compiler import compile_text

    now = time.perf_counter()
    report("compile")
    compiled = compile_text(imported.text, options_for(imported, options), dump)
    program = assemble(compiled, imported.constants, facts_of(imported))
    program.weights = imported.weights
    program.seconds = {"import": now - began, "compile": time.perf_counter() - now}
    return program


def assemble(compiled: Compiled, constants: Mapping[str, np.ndarray[Any, Any]], facts: Facts) -> Program:
    """The program, with those constants that it reads, as they are for its max_length."""
    wanted = {name for weight in compiled.manifest["weights"] for name in weight["sources"]}
    kept = {name: value for name, value in constants.items() if name.partition("@")[0] in wanted}
    limits = sorted((int(limit), name) for key in kept for name, _, limit in [key.partition("@")] if limit)
    for limit, name in limits:
        if limit < compiled.manifest["sizes"]["max_length"]:
            kept[name] = kept[f"{name}@{limit}"]
    return Program(compiled.manifest, dict(compiled.arrays), compiled.code, kept, facts)


def facts_of(imported: ImportedModel) -> Facts:
    """What a program keeps of an import."""
    facts = imported.config
    return Facts(
        facts.class_name,
        facts.max_length,
        facts.eos_token_ids,
        facts.bos_token_id,
        facts.generation,
        imported.tied,
        imported.parts,
        imported.signature,
    )


def options_for(imported: ImportedModel, options: Mapping[str, Any]) -> Options:
    """The options, with max_length at most what the model was made for, and a `split` for its heads."""
    from mk.compiler import Options

    made, most = Options.of(**options), imported.config.max_length
    heads = [attention.head_dim for attention in imported.config.attention.values()]
    if made.on_gpu and options.get("split") is None and max(heads, default=0) <= SHORT_HEAD:
        made = dataclasses.replace(made, split=256)
    return made if most is None else dataclasses.replace(made, max_length=min(made.max_length, most))


def find_place(model: Any) -> Path | None:
    """The folder or file of a model that is given by name. Raises CompileError if it is not on this machine."""
    if not isinstance(model, str | os.PathLike):
        return None
    path = Path(model)
    if path.exists():
        return path.resolve()
    if isinstance(model, str) and model.count("/") == 1 and not model.startswith((".", "/", "~")):
        with contextlib.suppress(Exception):  # it has many ways to say no
            from huggingface_hub import snapshot_download

            return Path(snapshot_download(model, local_files_only=True))
        raise CompileError(
            f"{model}: neither a path nor a model in the Hugging Face cache; mk does not download models, run "
            f"`hf download {model}` first"
        )
    raise CompileError(f"{model}: no such file or folder")


def cache_entry(identity: Any, options: dict[str, Any]) -> str:
    parts = [identity, options, FORMAT, mk.__version__, cache.compiler_identity(), cache.machine_identity()]
    return f"programs/{cache.key(*parts)}.mkp"


def cached_program(entry: str) -> Program | None:
    path = cache.path(entry)
    if path is None or not path.is_file():
        return None
    try:
        return load(path)
    except PackageError:
        return None  # it will be written again


def fingerprint(imported: ImportedModel) -> str:
    digest = hashlib.sha256(imported.text.encode() + repr(imported.signature).encode())
    for name in sorted(imported.constants):
        digest.update(name.encode() + b"\0" + imported.constants[name].tobytes())
    return digest.hexdigest()


def model_files(place: Any) -> dict[str, bytes]:
    """The model's text files. Without a tokenizer.json, transformers makes one, also from a GGUF file."""
    if not isinstance(place, str | os.PathLike) or not Path(place).exists():
        return {}
    path = Path(place)
    found = _read(path) if path.is_dir() else {}
    if text.TOKENIZER not in found:
        found |= _converted(path)
    return found


def _read(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in text.FILES if (folder / name).is_file()}


def _converted(path: Path) -> dict[str, bytes]:
    from transformers import AutoTokenizer

    from mk.weights import find_gguf

    gguf = None if (path / "config.json").is_file() else find_gguf(path)
    named = {"gguf_file": gguf.name} if gguf is not None else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(gguf.parent if gguf else path), local_files_only=True, **named
        )
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            return _read(Path(folder))
    except (
        Exception
    ):  # a model without a tokenizer is a model still: Tokenizer says what is missing when it is needed
        return {}
