"""Views by name: `fm`, `ds+noise`, `affine+cutout16`: raw bytes in, what a network sees out, all on the device.

A policy is a chain of steps on bytes, then normalisation, then noise. Every random number is drawn through `Draws`, a
block for each row, so the view of an image depends neither on the other images nor on how many processes train.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from halfseen.augment.ctaugment import CTAugment
from halfseen.augment.randaugment import RandAugment
from halfseen.augment.steps import GREY, Affine, Cutout, Finish, Jitter, Shift, Step, run_steps
from halfseen.augment.vectors import VectorPolicy
from halfseen.augment.whitening import Whitening
from halfseen.draws import Draws
from halfseen.errors import UserError, nearest

IMAGE_POLICIES = (
    *("none", "te", "tx2", "ds", "fm", "affine", "jitter", "cutout16"),
    *("ra", "ra-torchssl", "cta", "noise", "photo", "photo-ra"),
)
REACH = 1 / 8  # of the side, that `photo` shifts by: the 4 pixels of `fm` on 32
VECTOR_POLICIES = ("none", "noise", "vector")


class Policy:
    """[n, c, h, w] uint8 -> float32, normalised, in channels-last order."""

    def __init__(self, steps: Sequence[Step], finish: Finish, draws: Draws, fill: int = 0) -> None:
        self.steps, self.finish, self.draws, self.fill = tuple(steps), finish, draws, fill

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        return self.finish(run_steps(self.steps, x, self.draws, self.fill), x, self.draws)


def make_policy(
    name: str,
    *,
    shape: tuple[int, ...],
    flip: bool,
    mean: Tensor,
    std: Tensor,
    draws: Draws,
    per_image: bool = False,
    whitening: Whitening | None = None,
    noise_sd: float = 0.15,
    fill: int = 0,
    hole: int = 16,
    ra_ops: int | None = None,
    rotate: float = 15.0,
    zoom: float = 0.15,
    shear: float = 0.15,
    move: float = 0.1,
    swap: float = 0.2,
    reference: Tensor | None = None,
) -> Callable[[Tensor], Tensor]:
    """The view called `name`: policies joined by plus, from left to right; noise is added last.

    shape: of one image (c, h, w), or (d,) of a feature vector. flip: may an image be mirrored? Only then do te, ds, fm
    and affine flip. mean, std: [c] of values in [0, 1], or [d] of the raw features. per_image: normalise each image by
    its own mean and deviation; whitening: instead of either. fill: grey level of what a warp leaves empty. ra_ops: how
    many ops RandAugment draws. rotate (degrees), zoom, shear and move (share of the side) bound `affine`. swap,
    reference: see VectorPolicy.
    """
    parts = name.split("+")
    known = IMAGE_POLICIES if len(shape) == 3 else VECTOR_POLICIES
    for part in parts:
        if part not in known:
            kind = "images" if len(shape) == 3 else "feature vectors"
            raise UserError(f"no augmentation {part!r} for {kind} in {name!r}; {nearest(part, known)}")
    if len(mean) != shape[0] or len(std) != shape[0]:
        raise UserError(f"mean and std have {len(mean)} and {len(std)} values; give {shape[0]}, one for each channel")
    if not bool((std > 0).all()):
        raise UserError("std has a value that is not above 0; give constant channels (features) a std of 1")
    if len(shape) == 1:
        swapped = swap if "vector" in parts else 0.0
        noise = sum(part != "none" for part in parts)
        return VectorPolicy(
            mean=mean, std=std, draws=draws, noise=noise, sd=noise_sd, swap=swapped, reference=reference
        )
    if shape[0] not in (1, 3):
        raise UserError(f"images have {shape[0]} channels; only grey (1) and colour (3) can be augmented")

    average = tuple(int(value) for value in (255 * mean.double()).round().clamp(0, 255).tolist())
    steps: dict[str, tuple[Step, ...]] = {
        "none": (),
        "noise": (),
        "te": (Shift(2, flip, fill),),
        "tx2": (Shift(2, False, fill, sideways=True),),  # a translation alone: it never mirrors
        "ds": (Shift(4, flip, fill),),
        "fm": (Shift(4, flip, fill),),
        "photo": (Shift(max(1, round(min(shape[1:]) * REACH)), flip, fill),),
        "photo-ra": (RandAugment("tenths", ra_ops or 2, fill), Cutout(max(2, min(shape[1:]) // 2), (GREY,), fill)),
        "affine": (Affine(flip, rotate, zoom, shear, move),),
        "jitter": (Jitter(fill=fill),),
        "cutout16": (Cutout(hole, average, fill),),
        "ra": (RandAugment("tenths", ra_ops or 2, fill), Cutout(hole, (GREY,), fill)),
        "ra-torchssl": (RandAugment("uniform", ra_ops or 3, fill), Cutout((0.0, 0.5), (GREY,), fill)),
    }
    finish = Finish(mean, std, parts.count("noise"), noise_sd, per_image, whitening)
    if "cta" not in parts:
        return Policy([step for part in parts for step in steps[part]], finish, draws, fill)
    if parts.count("cta") > 1:
        raise UserError(f"{name!r} names cta twice; name it once (it draws two ops)")
    at = parts.index("cta")
    before = [step for part in parts[:at] for step in steps[part]]
    after = [step for part in parts[at + 1 :] for step in steps[part]]
    return CTAugment(draws=draws, finish=finish, before=before, after=after, fill=fill)


VIEWS = {
    "none": "the image itself",
    "te": "shift by up to 2 pixels; mirror",
    "tx2": "shift by up to 2 pixels to the left or right, not up or down; never mirrored",
    "ds": "shift by up to 4 pixels; mirror",
    "fm": "random crop with 4 reflected pixels around; mirror",
    "affine": "turn, zoom, shear and move in one resampling; mirror",
    "noise": "Gaussian noise on what the network sees, sd 0.15",
    "jitter": "brightness, contrast, saturation, hue",
    "cutout16": "one grey hole of 16 pixels",
    "ra": "RandAugment: 2 of 14 operations, then cutout",
    "ra-torchssl": "RandAugment as TorchSSL has it: 3 operations, a cutout of random size",
    "photo": "`fm` at any size: shift by up to an eighth of the side; mirror",
    "photo-ra": "`ra` at any size: the hole of cutout is half the side",
    "weak": "of images that a backbone has seen: a random one of their weak views (--weak-views)",
    "strong": "of images that a backbone has seen: a random one of their strong views (--strong-views)",
    "dropout": "of images that a backbone has seen: a tenth of the features at 0",
    "cta": "CTAugment: operations whose strength follows the network",
    "vector": "for feature vectors: noise, and features swapped with another row's",
}
