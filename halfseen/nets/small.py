"""A network for laptops: digits of 28x28 in 113 thousand parameters (28,794 at width 16), fast on a CPU."""

import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.nets.net import Net, picture, rate_is


class Small(Net):
    """conv5/2 32 - conv3/2 64 - conv3 64 - conv3/2 96 - mean - dropout - head, each with batch norm and ReLU.

    The products fill a core, so strides, the last one too, keep them few: 3.7 million for a digit. Element-wise dropout
    would be as dear as a layer: it is on the pooled features.
    `width` scales every layer: 112,874 parameters for ten classes of digits at 32, 28,794 at 16. `early_dropout` drops whole
    channels after conv3: what follows it is not shared by the passes of Monte-Carlo dropout, so ComMatch pays for it.
    """

    def __init__(
        self,
        classes: int,
        shape: tuple[int, ...],
        *,
        width: int = 32,
        dropout: float = 0.0,
        early_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, _, _ = picture("small", shape, smallest=8)
        rate_is("dropout", dropout)
        rate_is("early_dropout", early_dropout)
        self.num_features = 3 * width
        self.conv1 = nn.Conv2d(channels, width, 5, stride=2, padding=2, bias=False)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.conv4 = nn.Conv2d(2 * width, 3 * width, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.norm3 = nn.BatchNorm2d(2 * width)
        self.norm4 = nn.BatchNorm2d(3 * width)
        self.early = nn.Dropout2d(early_dropout) if early_dropout else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(3 * width, classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        x = F.relu(self.norm2(self.conv2(x)), inplace=True)
        x = self.early(F.relu(self.norm3(self.conv3(x)), inplace=True))
        x = F.relu(self.norm4(self.conv4(x)), inplace=True)
        h: Tensor = self.dropout(x.mean((2, 3)))
        return h
