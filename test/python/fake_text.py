# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A tokenizer for the ten tokens of fake_program: single letters, a space, and the two bytes of one character."""

from __future__ import annotations

import json

TOKENS = [
    "a",
    "b",
    "Ã",
    "©",
    "Ġ",
    "c",
    "d",
    "e",
    "<s>",
    "</s>",
]  # 2 and 3 are the bytes of é, in GPT-2's alphabet
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'bad' %}{{ raise_exception('no such role') }}{% endif %}"
    "{{ bos_token + m['content'] + eos_token }}{% endfor %}{% if add_generation_prompt %}a{% endif %}"
)


def files(*, template: bool = True) -> dict[str, bytes]:
    """The model's text files, as in a package."""
    special = [
        {
            "id": index,
            "content": TOKENS[index],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for index in (8, 9)
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": {token: i for i, token in enumerate(TOKENS)},
        "merges": [],
    }
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": model,
    }
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}}
    made = {
        "tokenizer.json": json.dumps(tokenizer).encode(),
        "tokenizer_config.json": json.dumps(config).encode(),
    }
    return made | ({"chat_template.jinja": TEMPLATE.encode()} if template else {})
