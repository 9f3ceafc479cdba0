"""ZCA: images whose pixels are uncorrelated and have variance 1, and that still look like the images."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FLOOR = 1e-6  # variance, of values in [0, 1]: CIFAR-10's least is 1.6e-6, that of MNIST's dead pixels 0
ROWS = 2_000  # images at a time
LARGEST = 4_096  # values in an image: 64 x 64 in grey, 36 x 36 in colour; the matrix has as many rows and columns


@dataclass(frozen=True, eq=False)
class Whitening:
    """W (x - mean) of an image x in [0, 1] as one row of d values, W = U diag(1 / sqrt S) U^T.

    U, S: eigenvectors and eigenvalues of the covariance of the training images. Directions of a variance below FLOOR are
    left out: they would be magnified a thousandfold, of images that training never saw too.
    """

    mean: Tensor  # [d]
    matrix: Tensor  # [d, d], symmetric

    @classmethod
    def fit(cls, x: Tensor, ids: Tensor, device: torch.device) -> "Whitening":
        """Of the raw images x[ids], [n, c, h, w] bytes."""
        d = x[0].numel()
        total = torch.zeros(d, dtype=torch.float64, device=device)
        for rows in torch.split(ids, ROWS):
            total += flat(x[rows].to(device)).double().sum(0)
        mean = total / len(ids)
        square = torch.zeros(d, d, dtype=torch.float64, device=device)
        for rows in torch.split(ids, ROWS):
            centred = flat(x[rows].to(device)) - mean.float()
            square += (centred.T @ centred).double()
        S, U = torch.linalg.eigh(square.cpu() / len(ids))  # on the host: once a run
        W = (U * torch.where(S > FLOOR, S.clamp_min(FLOOR).rsqrt(), 0)) @ U.T
        return cls(mean.float().cpu(), W.float())

    def __call__(self, x: Tensor) -> Tensor:
        """[n, c, h, w] of bytes, as whole numbers or floats, to [n, c, h, w] in channels-last order."""
        with torch.autocast(x.device.type, enabled=False):  # bf16 would leave nothing of the small directions
            return whitened(x, self.mean, self.matrix).contiguous(memory_format=torch.channels_last)

    def to(self, device: torch.device) -> "Whitening":
        return Whitening(self.mean.to(device), self.matrix.to(device))

    def tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "matrix": self.matrix}

    @classmethod
    def of(cls, stored: dict[str, Any], d: int) -> "Whitening":
        """Of `tensors` as they were stored, tensors or arrays."""
        mean, matrix = (torch.as_tensor(stored[name]) for name in ("mean", "matrix"))
        if mean.shape != (d,) or matrix.shape != (d, d):
            raise ValueError(f"the whitening is for images of {len(mean)} values, not {d}")
        return cls(mean, matrix)


def whitened(x: Tensor, mean: Tensor, matrix: Tensor) -> Tensor:
    return ((flat(x) - mean) @ matrix).view_as(x)


def flat(x: Tensor) -> Tensor:
    return x.flatten(1).float() / 255
