"""Batch norm whose statistics are those of the whole batch, when several processes share it; on any device.

torch's own SyncBatchNorm works on GPUs only, and the same run on two CPU processes should be the same run.
"""

import torch
from torch import Tensor, nn

from halfseen.machine.distributed import channel_means, summed


class SyncedNorm(nn.modules.batchnorm._BatchNorm):
    """nn.BatchNorm1d / 2d over the rows of all processes, with the same parameters and buffers."""

    def _check_input_dim(self, input: Tensor) -> None:
        return

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        axes = [d for d in range(x.ndim) if d != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        mean, n = channel_means(values, axes)
        centred = values - mean.view(shape)
        var = summed(centred.square().sum(axes)) / n
        self._remember(mean.detach(), (var * n / (n - 1)).detach())
        out = centred * torch.rsqrt(var + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1.0 / self.num_batches_tracked
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(var, share)


def with_synced_norms(module: nn.Module) -> nn.Module:
    """The module with every plain batch norm in it replaced, weights and statistics kept."""
    for name, child in module.named_children():
        if type(child) in (nn.BatchNorm1d, nn.BatchNorm2d):
            assert isinstance(child, nn.modules.batchnorm._BatchNorm)
            norm = SyncedNorm(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
            norm.load_state_dict(child.state_dict())
            for mine, theirs in zip(norm.parameters(), child.parameters(), strict=True):
                mine.requires_grad_(theirs.requires_grad)
            setattr(module, name, norm)
        else:
            with_synced_norms(child)
    return module
