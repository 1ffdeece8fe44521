# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every exception that mk raises on purpose; catch `MkError` for all of them. And the warning that it gives."""


class MkError(Exception):
    """Base of all errors that mk reports to its user. The message is one line, also where another library's is not."""

    def __init__(self, message: str = "") -> None:
        super().__init__(" ".join(line.strip() for line in str(message).splitlines()))


class MkWarning(RuntimeWarning):
    """Something that mk goes on without, such as its cache."""


class CompileError(MkError):
    """The model cannot be compiled; the message names the module and the reason."""


class ImportModelError(CompileError):
    """The model cannot be brought in from PyTorch: an operator, option or file is not supported."""


class PackageError(MkError):
    """A compiled package is damaged, or was made for another version or target."""


class WeightError(MkError):
    """Weights are missing, damaged, or have the wrong name, shape or dtype."""


class InputError(MkError, ValueError):
    """An argument of a run-time call (tokens, positions, slots, rows, options) is not valid."""


class DeviceStalled(MkError):
    """The running program made no progress within its time limit and was stopped."""
