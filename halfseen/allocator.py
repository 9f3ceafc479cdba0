"""Keep large blocks of memory between training steps, instead of giving them back to the system after each tensor.

glibc maps every large block anew, and the kernel clears its pages: at the sizes of a training step on a CPU that costs
more than a third of the step. HALFSEEN_KEEP_BLOCKS=0 leaves the allocator alone; without glibc nothing happens.
"""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
NEVER = 2**31 - 1
PAD = 64 << 20


def keep_large_blocks() -> bool:
    """True if the allocator took the settings."""
    if os.environ.get("HALFSEEN_KEEP_BLOCKS", "1") == "0" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, PAD))
    taken = [mallopt(name, value) == 1 for name, value in wanted]
    return all(taken)
