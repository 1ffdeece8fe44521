# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What NVIDIA's management library says: which GPU it is, its clocks, and the energy that it uses."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

_POLL = 0.004  # seconds; the counter moves every 20 to 100 ms


class Nvml:
    """The GPU that a CUDA program without further ado uses: the first that is visible.

    Without the library, or where it refuses an answer, facts are left out; only `energy` raises RuntimeError.
    """

    def __init__(self) -> None:
        self._nvml: Any = None
        with contextlib.suppress(Exception):  # its own errors, or an ImportError: all mean the same here
            import pynvml

            pynvml.nvmlInit()
            self._handle = _handle(pynvml)
            self._nvml = pynvml

    @property
    def has_energy(self) -> bool:
        """Whether there is a counter."""
        return self._joule() is not None

    def facts(self) -> dict[str, Any]:
        """What does not change during a run. Never a serial number."""
        clocks = {"sm_mhz": "CLOCK_SM", "memory_mhz": "CLOCK_MEM"}
        found = {
            "name": self._get("DeviceGetName"),
            "driver": self._get("SystemGetDriverVersion"),
            "memory_gb": self._get("DeviceGetMemoryInfo", convert=lambda info: round(info.total / 1e9, 1)),
            "power_limit_watt": self._get("DeviceGetEnforcedPowerLimit", convert=lambda milli: milli / 1000),
            "processes": self._get("DeviceGetComputeRunningProcesses", convert=len),
        }
        for name, kind in clocks.items():
            found[f"most_{name}"] = self._get("DeviceGetMaxClockInfo", kind)
        return {name: value for name, value in found.items() if value is not None}

    def now(self) -> dict[str, Any]:
        """Clocks, power, temperature, and the bits of what holds the clocks back; ask right after the work."""
        found = {
            "sm_mhz": self._get("DeviceGetClockInfo", "CLOCK_SM"),
            "memory_mhz": self._get("DeviceGetClockInfo", "CLOCK_MEM"),
            "watt": self._get("DeviceGetPowerUsage", convert=lambda milli: milli / 1000),
            "celsius": self._get("DeviceGetTemperature", "TEMPERATURE_GPU"),
            "throttled": self._get("DeviceGetCurrentClocksEventReasons")
            or self._get("DeviceGetCurrentClocksThrottleReasons"),
        }
        return {name: value for name, value in found.items() if value is not None}

    def energy(self, work: Callable[[], int], seconds: float, warm: float = 0.5) -> dict[str, Any]:
        """Does `work`, which returns its number of tokens, again and again for `seconds`.

        The counter moves in jumps, so its slope between two jumps in that time is the power; with the seconds of a
        token it gives `joule_per_token`. Raises RuntimeError if there is no counter.
        """
        if not self.has_energy:
            raise RuntimeError("no energy counter")
        end = time.perf_counter() + warm
        while time.perf_counter() < end:
            work()
        jumps: list[tuple[float, float]] = []
        stop = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(jumps, stop), daemon=True)
        watcher.start()
        tokens, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            tokens += work()
        ended = time.perf_counter()
        stop.set()
        watcher.join()
        inside = [jump for jump in jumps if began <= jump[0] <= ended]
        if len(inside) < 3:
            raise RuntimeError(f"the energy counter moved {len(inside)} times in {ended - began:.1f} s")
        (first, low), (last, high) = inside[0], inside[-1]
        watt = (high - low) / (last - first)
        return {
            "joule_per_token": watt * (ended - began) / tokens,
            "watt": watt,
            "tokens": tokens,
            "seconds": ended - began,
            "jumps": len(inside),
        }

    def _watch(self, jumps: list[tuple[float, float]], stop: threading.Event) -> None:
        before = self._joule()
        while not stop.wait(_POLL):
            found = self._joule()
            if found is not None and found != before:
                jumps.append((time.perf_counter(), found))
                before = found

    def _joule(self) -> float | None:
        return self._get("DeviceGetTotalEnergyConsumption", convert=lambda milli: milli / 1000)

    def _get(self, name: str, kind: str = "", convert: Callable[[Any], Any] = lambda value: value) -> Any:
        """`nvmlNAME` of the GPU, None if there is no answer; `kind`: the constant that it takes besides."""
        if self._nvml is None:
            return None
        try:
            handle = () if name.startswith("System") else (self._handle,)
            constant = (getattr(self._nvml, f"NVML_{kind}"),) if kind else ()
            value = convert(getattr(self._nvml, f"nvml{name}")(*handle, *constant))
        except Exception:  # not supported here, or not known to this version
            return None
        return value.decode() if isinstance(value, bytes) else value


def _handle(nvml: Any) -> Any:
    """By its place on the bus: CUDA may number GPUs in another way."""
    with contextlib.suppress(Exception):
        from cuda.bindings import driver

        driver.cuInit(0)
        _, device = driver.cuDeviceGet(0)
        failed, place = driver.cuDeviceGetPCIBusId(32, device)
        if int(failed) == 0:
            return nvml.nvmlDeviceGetHandleByPciBusId(place.split(b"\0")[0])
    return nvml.nvmlDeviceGetHandleByIndex(0)
