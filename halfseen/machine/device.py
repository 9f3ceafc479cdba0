"""The device of a run, and what is set on it and on the memory beside it."""

import ctypes
import os
import platform

import torch

from halfseen.errors import UserError
from halfseen.machine import distributed

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
NEVER = 2**31 - 1
PAD = 64 << 20


def pick_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"there is no device {name!r}; use cpu, cuda, or cuda:1") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(
                f"--device {name}: torch sees no GPU here; leave --device out, or install a CUDA build of torch"
            )
        index = device.index if device.index is not None else distributed.local_rank()
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    return device


def keep_large_blocks() -> bool:
    """Keep large blocks of memory between training steps, instead of giving them back to the system after each tensor.

    glibc maps every large block anew, and the kernel clears its pages: at the sizes of a training step on a CPU that costs
    more than a third of the step. HALFSEEN_KEEP_BLOCKS=0 leaves the allocator alone; without glibc nothing happens.
    True if the allocator took the settings.
    """
    if os.environ.get("HALFSEEN_KEEP_BLOCKS", "1") == "0" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, PAD))
    taken = [mallopt(name, value) == 1 for name, value in wanted]
    return all(taken)
