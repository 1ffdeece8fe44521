# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Text to tokens and back: tokenizer, chat template, and the pieces of a stream."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mk.errors import InputError, PackageError

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"
SPECIAL, TEMPLATE = "special_tokens_map.json", "chat_template.jinja"
FILES = (
    TOKENIZER,
    CONFIG,
    SPECIAL,
    TEMPLATE,
    "generation_config.json",
)  # what a package keeps of a model's folder
Messages = Sequence[Mapping[str, Any]]


class Tokenizer:
    """The tokenizer of a model from the contents of its files. Raises PackageError if they cannot be read."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        from tokenizers import Tokenizer as Backend

        if TOKENIZER not in files:
            raise PackageError(
                "this program has no tokenizer: compile it from the model's folder or GGUF file, or use token ids with "
                "program.engine()"
            )
        try:
            self._backend = Backend.from_str(files[TOKENIZER].decode())
            config: dict[str, Any] = json.loads(files.get(CONFIG, b"{}"))
            special: dict[str, Any] = json.loads(files.get(SPECIAL, b"{}"))
            names = {key: value for key, value in {**special, **config}.items() if key.endswith("_token")}
            #: Special tokens by role, such as "eos_token".
            self.special = {
                key: value["content"] if isinstance(value, dict) else value
                for key, value in names.items()
                if isinstance(value, str | dict)
            }
            self.template = files[TEMPLATE].decode() if TEMPLATE in files else _template_of(config)
        except Exception as error:  # tokenizers raises plain Exception; the rest is JSON of any form
            raise PackageError(f"the tokenizer files cannot be read: {error}") from error

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids; `special` adds the tokens that begin or end a text of this model."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"the text is not valid Unicode at character {error.start}; give it as UTF-8"
            ) from error
        return list(self._backend.encode(text, add_special_tokens=special).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text, without special tokens. Bytes that are no character become U+FFFD."""
        return str(self._backend.decode(list(ids), skip_special_tokens=True))

    def token_id(self, token: str | None) -> int | None:
        """The id of a token, None if there is none."""
        found = None if token is None else self._backend.token_to_id(token)
        return None if found is None else int(found)

    def chat(self, messages: Messages) -> list[int]:
        """Token ids of a conversation, up to where the model's answer begins.

        `messages` are dicts with `role` and `content`. Raises InputError if the model has no chat template, or if the
        template refuses them.
        """
        return self.encode(self.render(messages), special=False)

    def render(self, messages: Messages) -> str:
        """The text of a conversation, see `chat`."""
        if self.template is None:
            raise InputError("this model has no chat template; use generate() with a plain prompt")
        _check_messages(messages)
        return _render(self.template, list(messages), self.special)

    def pieces(self, ids: Iterable[int], stop: Sequence[str] = ()) -> Iterator[str]:
        """The text of a stream of tokens, piece by piece, up to the first stop string.

        A piece holds whole characters only, and no text is given out that a stop string could still begin with.
        """
        stops, text = StopFilter(stop), Detokenizer(self)
        try:
            for token in ids:
                piece = stops.push(text.push(token))
                if piece:
                    yield piece
                if stops.found:
                    return
            rest = stops.push(text.flush()) + stops.flush()
            if rest:
                yield rest
        finally:
            if isinstance(ids, Generator):
                ids.close()  # ends the run that makes them


class Detokenizer:
    """Text of one token after the other. It decodes a short window, since a token's text depends on those before."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._begin = 0  # of the window
        self._given = 0  # tokens whose text is out

    def push(self, token: int) -> str:
        """The text that is complete with this token; empty while a character lacks bytes."""
        self._ids.append(token)
        rest = self._rest()
        if not rest or rest.endswith("\ufffd"):
            return ""
        self._begin, self._given = self._given, len(self._ids)
        return rest

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that was never completed."""
        rest = self._rest()
        self._begin = self._given = len(self._ids)
        return rest

    def _rest(self) -> str:
        given = self._tokenizer.decode(self._ids[self._begin : self._given])
        return self._tokenizer.decode(self._ids[self._begin :])[len(given) :]


class StopFilter:
    """Passes text on until one of the stop strings is complete, which may come in several pieces."""

    def __init__(self, stops: Sequence[str]) -> None:
        if isinstance(stops, str) or not all(isinstance(stop, str) and stop for stop in stops):
            raise InputError(f"stop must be a list of non-empty strings, not {stops!r}")
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def push(self, piece: str) -> str:
        """The text that is certainly before any stop string."""
        text = self._held + piece
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self._held, self.found = "", True
            return text[: min(places)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, at the end."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop` begins."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


def _template_of(config: Mapping[str, Any]) -> str | None:
    template = config.get("chat_template")
    if isinstance(template, list):  # several by name
        named = {entry["name"]: entry["template"] for entry in template}
        template = named.get("default")
    return template


def _check_messages(messages: Any) -> None:
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise InputError("messages must be a non-empty list of dicts with 'role' and 'content'")
    for index, message in enumerate(messages):
        if (
            not isinstance(message, Mapping)
            or not isinstance(message.get("role"), str)
            or "content" not in message
        ):
            raise InputError(f"messages[{index}] must be a dict with 'role' and 'content', not {message!r}")


def _render(template: str, messages: list[Any], special: Mapping[str, str]) -> str:
    # A template comes with a model, so it is untrusted code: the sandbox is the one that transformers uses as well.
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = time.strftime
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(
        value, ensure_ascii=False, indent=indent
    )
    try:
        return environment.from_string(template).render(
            messages=messages, add_generation_prompt=True, **special
        )
    except Exception as error:  # the template may do anything that jinja allows
        raise InputError(f"the chat template refuses these messages: {error}") from error
