"""Forty images of a tiny task, of which eight are labelled: what methods that train in rounds are entered with."""

import torch


class Pool:
    def __init__(self, K: int = 4) -> None:
        g = torch.Generator().manual_seed(2)
        self.truth = torch.arange(40) % K
        centres = torch.randn(K, 6, generator=g, dtype=torch.float64) * 3
        self.x = centres[self.truth] + torch.randn(40, 6, generator=g, dtype=torch.float64)
        self.labelled, self.unlabelled = torch.arange(8), torch.arange(8, 40)
        self.y = torch.where(torch.arange(40) < 8, self.truth, -1)

    def sweep(self, ids=None):
        for part in (torch.arange(40) if ids is None else ids).split(7):
            yield part, self.x[part]
