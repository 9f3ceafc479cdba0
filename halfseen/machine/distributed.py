"""The few torch.distributed calls that the library makes; with one process each of them does nothing.

Start several processes with `torchrun --nproc-per-node N -m halfseen train ...`: gloo on CPUs, NCCL on GPUs.
"""

import atexit
import os
import sys
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

# what gloo says of a peer, at the end of a file and line of its own
GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Socket closed", "gloo/transport")


def start(device: torch.device) -> None:
    """Join the group that torchrun's environment describes, if there is one and it is not joined yet."""
    if "WORLD_SIZE" in os.environ and int(os.environ["WORLD_SIZE"]) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(stop)  # a process that ends with the group's threads at work is aborted, now and then


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def leave() -> None:
    """End this process of a group, its work done and written, without taking the interpreter down.

    The group's threads may outlive the interpreter that they call into, and then the process is aborted ("terminate
    called without an active exception"), now and then, though all that it had to do was done.
    """
    if dist.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def is_lost(e: BaseException) -> bool:
    """Does this error say that another process of the group has gone?"""
    return isinstance(e, dist.DistBackendError | dist.DistNetworkError) or (
        isinstance(e, RuntimeError) and dist.is_initialized() and any(sign in str(e) for sign in GONE)
    )


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def outside_rank() -> int:
    """The rank that torchrun gave this process, known before the group is joined."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def average(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in one message per kind of number."""
    if world() == 1:
        return
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for t in tensors:
        kinds.setdefault(t.dtype, []).append(t)
    for same in kinds.values():
        flat = torch.cat([t.reshape(-1) for t in same])
        dist.all_reduce(flat)
        flat /= world()
        parts = torch.split(flat, [t.numel() for t in same])
        torch._foreach_copy_(same, [part.view_as(t) for part, t in zip(parts, same, strict=True)])


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """The gradient of the whole batch; a parameter that got none here but one elsewhere counts as zero."""
    if world() == 1:
        return
    trained = [p for p in parameters if p.requires_grad]
    for p in trained:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    average([p.grad for p in trained if p.grad is not None])


def average_buffers(module: nn.Module) -> None:
    """Batch-norm statistics are gathered by each process over its own rows: give every process their mean."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    average([b for m in norms for b in (m.running_mean, m.running_var) if b is not None])


def mean_count(count: Tensor) -> Tensor:
    """The mean of a number over the processes, without gradient."""
    if world() == 1:
        return count
    total = count.detach().to(torch.promote_types(count.dtype, torch.float32), copy=True)
    dist.all_reduce(total)
    return total / world()


class _Sum(torch.autograd.Function):
    """The sum over the processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return total


def summed(x: Tensor) -> Tensor:
    """The sum over the processes, with gradient to the part of each."""
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return total


def channel_means(x: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    """Mean of each channel [c] over these dimensions and all processes, with gradient, and of how many values."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    sums = summed(torch.cat([x.sum(axes), x.new_full((1,), x.numel() / x.shape[1])]))
    return sums[:-1] / sums[-1], sums[-1]


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order of the whole batch (row i of process r is row i * world + r)."""
    if world() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world())]
    dist.all_gather(parts, rows.contiguous())
    return torch.stack(parts, 1).flatten(0, 1)


def gather_objects(thing: Any) -> list[Any]:
    """One picklable thing from every process."""
    if world() == 1:
        return [thing]
    things: list[Any] = [None] * world()
    dist.all_gather_object(things, thing)
    return things


def any_of(flag: bool, device: torch.device) -> bool:
    """Did any process raise the flag?"""
    if world() == 1:
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return bool(value.item())


def wait() -> None:
    if world() > 1:
        dist.barrier()
