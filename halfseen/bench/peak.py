"""The most memory that a process has held at once, without what its parent held.

`ru_maxrss` is no answer on Linux: a process that is forked and becomes another program starts with the peak of the one
that forked it, so that a small run measured from a large program shows the large program. VmHWM belongs to the memory
itself, which is new with the program.
"""

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def own_peak() -> int:
    """Bytes, of this process since it became this program; where there is no /proc, what `getrusage` says."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):  # "VmHWM:     2180 kB"
            return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, the others KiB
