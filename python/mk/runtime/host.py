# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A program with its weights and its memory on a device: what engines and functions share."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mk.errors import InputError
from mk.runtime import inputs
from mk.runtime.base_device import BaseDevice
from mk.runtime.pages import PageTable
from mk.runtime.times import KEPT, Times
from mk.runtime.validate import check_fits_machine

if TYPE_CHECKING:
    from mk.program import Program


class Host:
    """Opens the device of a program, and closes it; see `Engine`."""

    def __init__(
        self,
        program: Program,
        weights: Any = None,
        *,
        pool_pages: int | None = None,
        stall_seconds: float = 2.0,
        seed: int = 0,
        trace_steps: int = KEPT,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.program = program
        sizes = program.manifest["sizes"]
        self.pool_pages = (
            sizes["max_sequences"] * sizes["slot_pages"]
            if pool_pages is None
            else inputs.positive("pool_pages", pool_pages)
        )
        device = self._device = _open_device(program, self.pool_pages, trace_steps)
        try:
            #: Whether the packed weights came from the cache.
            self.warm = device.fill(program, weights, seed, progress)
            table = device.request["page_table"].reshape(sizes["max_sequences"], sizes["slot_pages"])
            self._pages = PageTable(table, self.pool_pages, sizes["page"])
            self._lengths = [0] * sizes["max_sequences"]
            device.start_workers(stall_seconds)
        except BaseException:
            device.abandon()
            raise

    @property
    def kv_bytes(self) -> int:
        """Bytes of the KV pool."""
        return self._device.kv_bytes

    @property
    def step_bytes(self) -> int:
        """Bytes of packed weights that a step of one token reads; more tokens read more only where they choose other
        experts."""
        from mk.report import step_bytes

        return step_bytes(self.program.manifest)

    def times(self) -> Times:
        """When the tasks of the last `trace_steps` steps ran. `mk.timeline` writes them for Perfetto.

        Raises InputError unless the program was compiled with `trace=True`.
        """
        with self._device.exclusive():
            times = self._device.times()
        if times is None:
            raise InputError("this program notes no times: compile it with trace=True")
        return times

    def close(self) -> None:
        """Ends a generation under way and the threads, and frees the memory. A second call does nothing."""
        self._device.close()
        self._pages.table = self._pages.table[:0].copy()  # or the view would keep the memory

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_device(program: Program, pool_pages: int, trace_steps: int) -> BaseDevice:
    """Imports only what this kind of program needs: the native runtime, or the bindings of CUDA."""
    if program.manifest["target"]["kind"] == "gpu":
        from mk.runtime.gpu.device import GpuDevice

        return GpuDevice(program, pool_pages, trace_steps)
    from mk.runtime.device import Device

    check_fits_machine(program.manifest["target"])
    return Device(program, pool_pages, trace_steps)
