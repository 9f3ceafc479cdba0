"""What a method remembers about each image: a buffer with one row per image of the training set, by id."""

import torch
from torch import Tensor, nn

from halfseen.machine.distributed import gather_rows


class Memory(nn.Module):
    """`memory[ids]` reads, `memory.write(ids, values)` writes; saved and loaded with the method like any buffer."""

    values: Tensor

    def __init__(self, rows: int, *shape: int, fill: float = 0.0, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("values", torch.full((rows, *shape), fill, dtype=dtype))  # [rows, *shape]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, ids: Tensor) -> Tensor:
        return self.values[ids]

    @torch.no_grad()
    def write(self, ids: Tensor, values: Tensor) -> None:
        """Rows `ids` become `values`, on every process: each one's rows are gathered. Of equal ids the first counts."""
        ids, values = gather_rows(ids), gather_rows(values.detach().to(self.values.dtype))
        self.values.index_copy_(0, ids, values[first_of_equal(ids)])

    def forward(self, ids: Tensor) -> Tensor:
        return self[ids]


def first_of_equal(ids: Tensor) -> Tensor:
    """For each row the first row with the same id, [n]: a batch across two laps of a stream may hold an image twice, and
    rows that are written twice at once must hold the same. The device is not stopped to count."""
    order = ids.argsort(stable=True)
    ranked = ids[order]
    begins = torch.ones_like(ranked, dtype=torch.bool)
    begins[1:] = ranked[1:] != ranked[:-1]
    start = torch.where(begins, torch.arange(len(ids), device=ids.device), 0).cummax(0).values
    return torch.empty_like(order).scatter_(0, order, order[start])
