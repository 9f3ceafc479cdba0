"""ResNet-18 in its ImageNet form (He et al. 2016): for pictures of 64 pixels and more."""

import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.nets.net import Net, picture, rate_is


class ResNet18(Net):
    """conv7/2 64 - pool3/2 - 4 stages of 2 blocks, widths 64 128 256 512 - mean - head."""

    def __init__(self, classes: int, shape: tuple[int, ...], *, dropout: float = 0.0) -> None:
        super().__init__()
        channels, _, _ = picture("resnet18", shape, smallest=32)
        rate_is("dropout", dropout)
        self.num_features = 512
        self.stem = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(64)
        widths = (64, 64, 128, 256, 512)
        self.blocks = nn.Sequential(
            *(
                Block(widths[stage + i], widths[stage + 1], stride=2 if stage > 0 and i == 0 else 1)
                for stage in range(4)
                for i in range(2)
            )
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(512, classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        x = self.blocks(F.max_pool2d(x, 3, stride=2, padding=1))
        h: Tensor = self.dropout(x.mean((2, 3)))
        return h


class Block(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.skip = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)), inplace=True)
        h = self.norm2(self.conv2(h)).add_(self.skip(x))
        return F.relu(h, inplace=True)
