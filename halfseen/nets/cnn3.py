"""The three-layer network with two heads that Dual Student uses for USPS -> MNIST."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from halfseen.nets.net import InputNoise, Net, heads_are, picture, rate_is


class CNN3(Net):
    """noise - conv3 16 - pool - conv3 32 - pool - dropout - conv3 32 - average of 6x6 - heads.

    Weight norm everywhere, batch norm and LeakyReLU after each convolution. The 28x28 pictures of the paper end in
    maps of 7x7, of which the 6x6 window takes one place (the last row and column are unused); larger maps have several
    places, and their mean is taken.
    """

    num_features = 32

    def __init__(
        self,
        classes: int,
        shape: tuple[int, ...],
        *,
        heads: int = 2,
        input_noise: float = 0.15,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        channels, _, _ = picture("cnn3", shape, smallest=24)
        heads_are(heads)
        rate_is("dropout", dropout)
        self.body = nn.Sequential(
            InputNoise(input_noise),
            *_conv(channels, 16),
            nn.MaxPool2d(2),
            *_conv(16, 32),
            nn.MaxPool2d(2),
            nn.Dropout(dropout),
            *_conv(32, 32),
        )
        self.head = weight_norm(nn.Linear(32, classes))
        self.head2 = weight_norm(nn.Linear(32, classes)) if heads == 2 else None

    def features(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.body(x), 6, stride=2).mean((2, 3))


def _conv(c_in: int, c_out: int) -> tuple[nn.Module, ...]:
    conv = weight_norm(nn.Conv2d(c_in, c_out, 3, padding=1))
    return conv, nn.BatchNorm2d(c_out), nn.LeakyReLU(0.1, inplace=True)
