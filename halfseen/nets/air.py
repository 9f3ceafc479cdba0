"""A network for colour pictures of 32 pixels that a core of a CPU trains in an hour, of the kind of CIFAR-10 speed runs.

The layout is airbench94's (Jordan 2024, arXiv:2404.00498). Theirs begins with filters that are set from the training
pictures and fixed, and has GELU; here the first layer is learnt, so that no network must see data before it exists, and ReLU
costs a CPU less.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.nets.net import Net, picture, rate_is


class Air(Net):
    """conv2 24 - three groups of conv3, pool, conv3 (64, 256, 256) - maximum - dropout - head; batch norm and ReLU.

    Pooling stands before the norm and what follows, and at 32 pixels the groups end in maps of 15, 7 and 3: 118 million
    products for a picture, 20 million at width 24, where WRN-28-2 has 214. `width` is of the first group; the others are
    four times as wide.
    """

    def __init__(self, classes: int, shape: tuple[int, ...], *, width: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        channels, _, _ = picture("air", shape, smallest=16)
        rate_is("dropout", dropout)
        self.num_features = 4 * width
        self.stem = nn.Conv2d(channels, 24, 2, bias=False)
        self.norm = nn.BatchNorm2d(24)
        self.groups = nn.Sequential(Group(24, width), Group(width, 4 * width), Group(4 * width, 4 * width))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * width, classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        x = self.groups(F.relu(self.norm(self.stem(x)), inplace=True))
        h: Tensor = self.dropout(x.amax((2, 3)))
        return h


class Group(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(F.max_pool2d(self.conv1(x), 2)), inplace=True)
        return F.relu(self.norm2(self.conv2(x)), inplace=True)
