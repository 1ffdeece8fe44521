# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A Hugging Face model, without values, for a GGUF file; transformers translates the metadata to a config."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from mk.errors import ImportModelError
from mk.weights.gguf_file import GgufFile

# Metadata that changes the arithmetic. transformers ignores keys it does not know; for these that would be a
# different model, so an unknown one is refused.
ARITHMETIC = ("rope.scaling.", "sliding_window", "softcapping", "_scale", "clamp_kqv", "alibi")


def gguf_model(file: GgufFile) -> tuple[Any, dict[str, Any]]:
    """The model on the meta device (buffers real), and its config as the dict that transformers made.

    `file` has been checked against its size, which the reader of transformers does not do.
    Raises ImportModelError for a model that transformers cannot take from GGUF.
    """
    from transformers import AutoConfig
    from transformers.integrations.gguf import is_gguf_arch_supported
    from transformers.modeling_gguf_pytorch_utils import GGUF_CONFIG_MAPPING, load_gguf_checkpoint

    from mk.importer.huggingface import empty_model

    path = file.path
    architecture = file.text("general.architecture")
    known = GGUF_CONFIG_MAPPING.get(architecture)
    # Architectures on the newer path of transformers have tensor transforms that exist only inside its loader.
    if known is None or is_gguf_arch_supported(architecture):
        raise ImportModelError(
            f"{path}: transformers has no GGUF tensor map for the architecture '{architecture}'; "
            "use the safetensors checkpoint of this model"
        )
    for key in file.keys:
        name = key.removeprefix(architecture + ".")
        if name != key and name not in known and any(part in name for part in ARITHMETIC):
            raise ImportModelError(
                f"{path}: transformers ignores the metadata {key}, which changes the results; "
                "use the safetensors checkpoint of this model"
            )
    try:
        # AutoConfig.from_pretrained would do the same, but read the file, with its slow vocabulary, twice.
        with _quick_reader(file, vocabulary_size_known=architecture + ".vocab_size" in file.keys):
            metadata: dict[str, Any] = load_gguf_checkpoint(str(path), return_tensors=False)["config"]
        options = dict(metadata)
        config = AutoConfig.for_model(options.pop("model_type"), **options)
    except Exception as error:  # its reader raises whatever numpy does
        raise ImportModelError(f"{path}: transformers cannot read the metadata: {error}") from error
    return empty_model(config), metadata


@contextlib.contextmanager
def _quick_reader(file: GgufFile, vocabulary_size_known: bool) -> Iterator[None]:
    """Spares transformers the vocabulary: gguf's reader makes several objects of each entry, which takes seconds.

    The vocabulary says something about the model only if its size is stated nowhere else.
    """
    import gguf

    class Reader(gguf.GGUFReader):
        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            if orig_offs in file.tokenizer_arrays:
                return file.tokenizer_arrays[orig_offs], [], [], [gguf.GGUFValueType.ARRAY]
            return super()._get_field_parts(orig_offs, raw_type)

    original = gguf.GGUFReader
    if vocabulary_size_known and sys.byteorder == "little":
        gguf.GGUFReader = Reader
    try:
        yield
    finally:
        gguf.GGUFReader = original
