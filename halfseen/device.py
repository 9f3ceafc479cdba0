"""The device of a run, and what is set on it."""

import torch

from halfseen import distributed
from halfseen.errors import UserError


def pick_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"there is no device {name!r}; use cpu, cuda, or cuda:1") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(
                f"--device {name}: torch sees no GPU here; leave --device out, or install a CUDA build of torch"
            )
        index = device.index if device.index is not None else distributed.local_rank()
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    return device
