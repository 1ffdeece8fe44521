# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a command shows on a terminal, and what it reads there."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def one_line_warnings() -> None:
    """mk's own warnings look like its errors; other people's keep Python's two lines, which name their code."""
    from mk.errors import MkWarning

    python = warnings.formatwarning

    def form(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if issubclass(category, MkWarning):
            return f"mk: {message}\n"
        return python(message, category, filename, lineno, line)

    warnings.formatwarning = form


@contextmanager
def phases() -> Iterator[Callable[[str], None]]:
    """Shows the phase at work on a terminal's standard error, and takes it away at the end."""
    if not sys.stderr.isatty():
        yield lambda phase: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda phase: status.update(phase)


def print_pieces(pieces: Iterator[str]) -> tuple[str, bool]:
    """Writes the pieces as they come; Ctrl-C ends them. Returns the text, and whether it is whole."""
    text, whole = "", True
    try:
        for piece in pieces:
            text += piece
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        whole = False
    finally:
        if isinstance(pieces, Iterator) and hasattr(pieces, "close"):
            pieces.close()
    print()
    return text, whole


def ask() -> str:
    """A line of the user's, empty at the end of the input."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""
