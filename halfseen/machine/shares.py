"""Which rows of the whole batch a process holds, and torch's own random numbers for them: dropout, noise on the input.

    even     rows rank, rank + world, ...; every process has as many of each kind     in a step
    uneven   of the whole batch; of one kind of rows some processes have one more     in a step of a mixed_pass
    alike    every process has all the rows that there are                            between steps

Torch's generator stands at the same place in every process. Each draws for the rows of all processes what one process would
draw for them, and keeps those of its own: so a row's mask does not depend on how many share the batch, and with one process
nothing is added to what torch does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from halfseen.machine import distributed

Kind = Literal["even", "uneven", "alike"]
_kind: Kind = "even"


@contextmanager
def rows_are(kind: Kind) -> Iterator[None]:
    global _kind
    before, _kind = _kind, kind
    try:
        yield
    finally:
        _kind = before


def share(n: int) -> tuple[int, int]:
    """Of n rows here: how many all processes have, and which is the first of ours; the next is `world` rows further on."""
    if _kind == "uneven":
        return spread([int(m) for m in distributed.gather_objects(n)], distributed.rank())
    return n * distributed.world(), distributed.rank()


def spread(counts: list[int], rank: int) -> tuple[int, int]:
    """The same from the counts of all processes: who has one row more comes first, and the others follow in a ring."""
    most = max(counts)
    begins = [r for r, n in enumerate(counts) if n == most and counts[r - 1] < most]
    return sum(counts), (rank - (begins[0] if begins else 0)) % len(counts)


def for_our_rows(draw: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """draw(x), whose numbers for a row are those that one process would draw for it; only the form of x counts."""
    if distributed.world() == 1 or _kind == "alike":
        return draw(x)
    n, first = share(len(x))
    row = x[:1]
    last = x.ndim == 4 and not row.is_contiguous() and row.is_contiguous(memory_format=torch.channels_last)
    whole = torch.ones((n, *x.shape[1:]), dtype=x.dtype, device=x.device)
    drawn = draw(whole.contiguous(memory_format=torch.channels_last) if last else whole)
    return drawn[first :: distributed.world()]
