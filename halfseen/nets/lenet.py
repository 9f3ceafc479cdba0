"""Two LeNets with a 2-D feature layer, so that what a method does to the classes can be drawn (the toy of R2-D2)."""

import torch.nn.functional as F
from torch import Tensor, nn

from halfseen.nets.net import Net, picture


class LeNet(Net):
    """conv5 20 - pool - conv5 50 - pool - FC 500 ReLU - FC 2 - head; nothing after the convolutions but the pooling."""

    num_features = 2

    def __init__(self, classes: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, h, w = picture("lenet", shape, smallest=16)
        self.conv1 = nn.Conv2d(channels, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc = nn.Linear(50 * _side(h, 0) * _side(w, 0), 500)
        self.to_plane = nn.Linear(500, 2)  # no activation: the plane is drawn whole
        self.head = nn.Linear(2, classes)

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        plane: Tensor = self.to_plane(F.relu(self.fc(x.flatten(1))))
        return plane


class LeNet5(Net):
    """conv5 6 (padded by 2) - pool - conv5 16 - pool - FC 120 - FC 84 - FC 2 - head, ReLU after each but the FC 2."""

    num_features = 2

    def __init__(self, classes: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, h, w = picture("lenet5", shape, smallest=12)
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * _side(h, 2) * _side(w, 2), 120)
        self.fc2 = nn.Linear(120, 84)
        self.to_plane = nn.Linear(84, 2)
        self.head = nn.Linear(2, classes)

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))
        plane: Tensor = self.to_plane(x)
        return plane


def _side(n: int, padding: int) -> int:
    """Pixels that are left of n after two convolutions of 5, the first padded, each pooled by 2."""
    return ((n - 4 + 2 * padding) // 2 - 4) // 2
