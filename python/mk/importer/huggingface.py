# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a user may give as a model, turned into a module that the export may take apart."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from mk.errors import ImportModelError
from mk.importer.config_check import check_config
from mk.weights import Weights, find_gguf, open_weights


def load(source: Any) -> tuple[Any, Weights | None, Any]:
    """A module of which nothing is shared with `source`, its weights if there are any, and its generation config.

    `source` is a PreTrainedModel, a config, a folder with config.json, or a GGUF file or folder. No weight is read.
    Raises ImportModelError for anything else.
    """
    from transformers import PreTrainedConfig, PreTrainedModel

    if isinstance(source, PreTrainedModel):
        check_config(source.config)
        return structure(source), own_weights(source), getattr(source, "generation_config", None)
    if isinstance(source, PreTrainedConfig):
        model = empty_model(copy.deepcopy(source))
        return model, None, getattr(model, "generation_config", None)
    if isinstance(source, str | Path):
        return _from_path(Path(source))
    raise ImportModelError(
        f"cannot import a {type(source).__name__}; give a Hugging Face causal language model, or the "
        "path of a folder with config.json or of a GGUF file"
    )


def empty_model(config: Any) -> Any:
    """The causal LM of a config with parameters on the meta device and real buffers; no weight is allocated."""
    check_config(config)
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    try:
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except Exception as error:
        raise ImportModelError(
            f"transformers cannot build a causal language model from this config: {error}"
        ) from error
    model.tie_weights()  # building on the meta device separates tied parameters
    return model


def structure(model: Any) -> Any:
    """A copy of the model without its values: parameters on the meta device, tied as in `model`; buffers copied."""
    import torch

    memo: dict[int, Any] = {}
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            raise ImportModelError(
                f"{name} is {parameter.dtype}: the model is quantized; give the unquantized model"
            )
        memo[id(parameter)] = torch.nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=False
        )
    try:
        duplicate = copy.deepcopy(model, memo)
    except TypeError as error:  # a lock, a file, a generator
        raise ImportModelError(
            f"{type(model).__name__} has an attribute that cannot be copied: {error}"
        ) from error
    for path, module in duplicate.named_modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                if buffer.is_meta:
                    raise ImportModelError(
                        f"{path}.{name}".lstrip(".")
                        + ": the buffer has no value; build the model with real buffers, or import its folder"
                    )
                module._buffers[name] = buffer.detach().cpu()
    return duplicate


def own_weights(model: Any) -> Weights | None:
    return None if any(parameter.is_meta for parameter in model.parameters()) else open_weights(model)


def _from_path(path: Path) -> tuple[Any, Weights | None, Any]:
    from transformers import AutoConfig, GenerationConfig

    if not path.exists():
        raise ImportModelError(f"{path}: no such file or folder; mk does not download models")
    if not (path / "config.json").is_file():
        gguf = find_gguf(path)
        if gguf is None:
            raise ImportModelError(f"{path}: neither a folder with config.json nor a GGUF file")
        from mk.importer.gguf_model import gguf_model
        from mk.weights.gguf_file import GgufFile
        from mk.weights.gguf_names import gguf_weights

        file = GgufFile(gguf)
        model, metadata = gguf_model(file)
        return model, gguf_weights(file, model, metadata), model.generation_config
    try:
        # Code in the folder is never run: what it does cannot be known, and it would run with the user's rights.
        config = AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever its validators raise
        raise ImportModelError(f"{path}: transformers cannot read config.json: {str(error)[:300]}") from error
    if getattr(config, "quantization_config", None):
        raise ImportModelError(
            f"{path}: the checkpoint is quantized; give the unquantized model or a GGUF file"
        )
    model = empty_model(config)
    generation = getattr(model, "generation_config", None)
    if (path / "generation_config.json").is_file():
        try:
            generation = GenerationConfig.from_pretrained(str(path), local_files_only=True)
        except Exception as error:  # as above
            raise ImportModelError(
                f"{path}: transformers cannot read generation_config.json: {error}; correct or remove it"
            ) from error
    from mk.weights.safetensors_folder import has_safetensors

    has_weights = has_safetensors(path) or find_gguf(path) is not None or any(path.glob("*.bin"))
    return model, open_weights(path) if has_weights else None, generation
