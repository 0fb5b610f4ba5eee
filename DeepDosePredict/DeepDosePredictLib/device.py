"""Which device and which number format to compute with.

PyTorch is imported inside the functions: it takes seconds, and the names of the devices need not wait for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from .errors import DeepDoseError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
"""What a model can be asked to run on."""

Item = TypeVar("Item")
Result = TypeVar("Result")
_threads_outside: ContextVar[int] = ContextVar("threads outside of one_thread", default=1)


def select_device(name: str = "auto") -> torch.device:
    """The device to run on: "auto" takes CUDA, then Apple's MPS, then the CPU. DeepDoseError if it is not there."""
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device in ("cuda", "mps", "cpu") if available[device]))
    if name not in DEVICES:
        raise DeepDoseError(f"unknown device {name!r}; choose one of {', '.join(DEVICES)}")
    if not available[name]:
        raise DeepDoseError(f"device {name!r} is not available on this computer; use 'cpu' or 'auto'")
    return torch.device(name)


@functools.cache
def cpu_has_bf16() -> bool:
    """Whether the processor computes in bf16 (AVX512-BF16 or AMX on x86, BF16 on Arm); emulated bf16 is slower."""
    import torch

    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(key, False) for key in ("avx512_bf16", "amx_bf16", "bf16"))


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Half precision that the device computes fast, or None for float32."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and cpu_has_bf16():
        return torch.bfloat16
    return None


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks for the next step instead of returning them to the system.

    3D feature maps are large enough that malloc maps and unmaps each of them; the page faults cost about a third of
    the network's time on the CPU. It holds for the whole process, so programs call it and the library does not.
    Without effect on other C libraries.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        trim_threshold, top_pad, mmap_max = -1, -2, -4  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX of malloc.h
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 256 * 2**20)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread of the CPU; also a decorator.

    Many small steps gain nothing from a second thread, and wait for it at each of them while another process computes:
    ten seconds instead of one was seen. Inside, `in_threads` uses the others.
    """
    import torch

    threads = torch.get_num_threads()
    outside = _threads_outside.set(max(threads, _threads_outside.get()))
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _threads_outside.reset(outside)


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """function(item) of every item; inside `one_thread` side by side, in as many threads as PyTorch has outside of it.

    Threads with whole items wait for each other once, not at every step. Not nested: a thread's own items come one
    after the other.
    """
    items = list(items)
    workers = min(_threads_outside.get(), len(items))
    if workers < 2:
        return [function(item) for item in items]
    import torch

    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def as_here(item: Item) -> Result:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            return function(item)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(as_here, items))
