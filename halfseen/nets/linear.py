"""One linear layer on centred features of length 1: what is put on the features of a backbone."""

import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.nets.net import Net, rate_is

COOL, WARM = 5.0, 20.0  # temperatures for small pools and large ones


def warmth(pool: int) -> float:
    """The temperature for a method that teaches itself on a pool of so many images: a hundredth of them, within 5 to 20.

    A small pool is seen a thousand times in a run, and at 20 a head is sure of each of its first guesses at once: on 188
    blood cells FixMatch had 72% at 20 and 94% at 5 (logistic regression 88%; tuning draw 100), and DNLL alike, with any
    number of negatives. Of 2,000 images and more 20 was 2 points better, since at 5 few images are ever sure enough.
    """
    return min(WARM, max(COOL, pool / 100))


class Linear(Net):
    """logits = W dropout(temperature h / |h|) + b.

    The length is taken inside the network, so that a perturbation of the input (VAT's) has a meaning: a direction.
    `temperature` says how large the features are that W sees, and so how fast W can become sure of something.
    """

    def __init__(
        self, classes: int, shape: tuple[int, ...], *, temperature: float = 20.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if len(shape) != 1:
            raise UserError(f"net 'linear' is for vectors, and the data are pictures of shape {tuple(shape)}")
        rate_is("dropout", dropout)
        if temperature <= 0:
            raise UserError(f"temperature={temperature}: the length that features are brought to is more than 0")
        self.temperature, self.num_features = temperature, shape[0]
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(shape[0], classes)
        nn.init.zeros_(self.head.bias)
        nn.init.normal_(self.head.weight, std=0.01)

    def features(self, x: Tensor) -> Tensor:
        h: Tensor = self.dropout(self.temperature * F.normalize(x, dim=1))
        return h
