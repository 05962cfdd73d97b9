"""Where do we compute, in which precision, with how many cores, and why so?"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from services.gpu_inference.settings import DeviceChoice, DtypeChoice
from zeroidle.errors import PermanentError

# bfloat16 pays on a CPU only with units for it: AMX tiles or AVX-512-BF16 dot products (`flags` of /proc/cpuinfo).
CPU_BF16_FLAGS = ("amx_bf16", "avx512_bf16")
CUDA_BF16 = (8, 0)  # compute capability from which bfloat16 is native: Ampere
# One batch: small enough to stay in a CPU's caches, large enough to fill a GPU.
TOKEN_BUDGET = {"cpu": 4096, "cuda": 32768}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the machine has. `cuda` is the compute capability of its GPU, None without one."""

    cpu_flags: frozenset[str]
    cuda: tuple[int, int] | None
    memory_bytes: int  # of the GPU, or what the instance may use


@dataclass(frozen=True, slots=True)
class Runtime:
    """What was chosen, and why."""

    device: str  # cpu, cuda
    dtype: str  # float32, bfloat16, float16
    reason: str
    threads: int
    memory_bytes: int

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision as torch names it."""
        return DTYPES[self.dtype]


def choose(hardware: Hardware, device: DeviceChoice, dtype: DtypeChoice, threads: int) -> Runtime:
    """The device and the precision. Raises PermanentError when a device is asked for that is not there."""
    if device == "cuda" and hardware.cuda is None:
        raise PermanentError(
            "DEVICE=cuda, but torch sees no GPU",
            hint="Check the driver and that the image holds a CUDA build of torch, or set DEVICE=auto.",
        )
    on_gpu = hardware.cuda is not None and device != "cpu"
    chosen, reason = _precision(hardware, on_gpu=on_gpu)
    if dtype != "auto":
        chosen, reason = dtype, f"DTYPE={dtype}"
    return Runtime(
        device="cuda" if on_gpu else "cpu",
        dtype=chosen,
        reason=reason,
        threads=threads,
        memory_bytes=hardware.memory_bytes,
    )


def _precision(hardware: Hardware, *, on_gpu: bool) -> tuple[str, str]:
    if on_gpu and hardware.cuda is not None:
        capability = ".".join(map(str, hardware.cuda))
        if hardware.cuda >= CUDA_BF16:
            return "bfloat16", f"the GPU computes it natively (capability {capability})"
        return "float16", f"the GPU has no bfloat16 (capability {capability})"
    units = [flag for flag in CPU_BF16_FLAGS if flag in hardware.cpu_flags]
    if units:
        return "bfloat16", f"the CPU has units for it ({', '.join(units)})"
    return "float32", f"the CPU has no bfloat16 units ({', '.join(CPU_BF16_FLAGS)})"


def detect(cpuinfo: Path = Path("/proc/cpuinfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> Hardware:
    """What this machine has."""
    flags: frozenset[str] = frozenset()
    with contextlib.suppress(OSError):
        flags = cpu_flags(cpuinfo.read_text())
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Hardware(flags, (properties.major, properties.minor), properties.total_memory)
    return Hardware(flags, None, memory_limit(cgroup))


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """The flags of the first processor in the text of /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def cores(limit: float, cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many cores to use: `limit` if it is not 0, else the smaller of the container's quota and our affinity."""
    if limit:
        return max(1, math.floor(limit))
    affinity = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        affinity = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        # "<quota> <period>" in microseconds, or "max <period>".
        quota, period = (cgroup / "cpu.max").read_text().split()
        if quota != "max":
            return max(1, min(affinity, math.floor(int(quota) / int(period))))
    return affinity


def memory_limit(cgroup: Path) -> int:
    """What the instance may use, in bytes: the container's limit, else the machine's memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        return min(total, int((cgroup / "memory.max").read_text()))  # "max" is no number: no limit
    return total


def token_budget(runtime: Runtime, setting: int, defaults: Mapping[str, int] = TOKEN_BUDGET) -> int:
    """Tokens in one batch."""
    return setting or defaults[runtime.device]
