"""A backbone and the head that was trained on its features, as one network of pixels: what is saved, exported, asked."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from halfseen.backbones.backbone import Backbone
from halfseen.data import ImageSet
from halfseen.model.facts import Facts
from halfseen.probes.strange import Familiar

BACKBONE, HEAD = "backbone.", "head."  # what their weights are called in the whole


class OnPixels(nn.Module):
    """pixels [n, c, h, w] in [0, 1] -> logits: head((backbone(pixels) - mean) / std)."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, head: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def features(self, x: Tensor) -> Tensor:
        h: Tensor = self.backbone(x if x.shape[1] == 3 else x.expand(-1, 3, -1, -1))
        return h.float()

    def forward(self, x: Tensor) -> Tensor:
        return self.of(self.features(x))

    def of(self, h: Tensor) -> Tensor:
        """Logits of features."""
        logits: Tensor = self.head((h - self.mean) / self.std)
        return logits


class WithDistance(nn.Module):
    """pixels -> logits [n, K], and in one more column how far the features are from those of the labelled pictures."""

    def __init__(self, net: OnPixels, familiar: Familiar) -> None:
        super().__init__()
        self.net, self.familiar = net, familiar

    def forward(self, x: Tensor) -> Tensor:
        h = self.net.features(x)
        return torch.cat([self.net.of(h), self.familiar.distance(h)[:, None]], 1)


def on_pixels(backbone: Backbone, head: nn.Module, of_head: Facts, place: torch.device) -> OnPixels:
    """Of a head that was trained under these facts."""
    mean, std = torch.tensor(of_head.mean), torch.tensor(of_head.std)
    return OnPixels(backbone, head, mean, std).to(place).eval()


def facts_of_pixels(of_head: Facts, images: ImageSet) -> Facts:
    """What the whole network is given: pixels in [0, 1], since the backbone normalises by itself."""
    channels = images.shape[0]
    return replace(of_head, shape=images.shape, mean=(0.0,) * channels, std=(1.0,) * channels, flip=images.flip)
