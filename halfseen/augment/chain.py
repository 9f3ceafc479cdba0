"""Apply a different chain of ops to every image of a batch: round by round, images that share an op together.

Geometric ops only collect matrices; the pixels move when a round needs them. On the CPU the rows of a round are sorted
by op, so that each op works on its own rows; on other devices every op in use works on all rows and a mask chooses,
because the host must not wait for the device to tell which rows there are.
"""

import torch
from torch import Tensor

from halfseen.augment.colour import KERNELS, TABLES, look_up, table
from halfseen.augment.geometry import Pending, about_centre, settle

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y", "rescale")
OPS = ("identity", *GEOMETRIC, *TABLES, *KERNELS)
ID = {name: index for index, name in enumerate(OPS)}
_TABLES_FROM, _KERNELS_FROM = ID[next(iter(TABLES))], ID[next(iter(KERNELS))]


def apply_chain(
    x: Tensor,
    ops: Tensor,
    amounts: Tensor,
    pending: Pending | None,
    fill: int,
    *,
    used: tuple[str, ...],
    grouped: bool,
) -> tuple[Tensor, Pending | None]:
    """x [n, c, h, w] uint8 through ops [n, rounds] (places in OPS), and what is left to resample.

    amounts [n, rounds] are what Pillow's op takes: factor, bits, threshold, degrees, shear, pixels; for autocontrast,
    equalise, invert and smooth how far to go (1: all the way); for hue the share of the circle; for rescale the side
    of the part that is shown. `used` names the ops that may occur; the others are not computed.
    """
    h, w = x.shape[-2:]
    moving = any(name in GEOMETRIC for name in used)
    for op, amount in zip(ops.unbind(1), amounts.unbind(1), strict=True):
        looks = op >= _TABLES_FROM  # [n] these need their pixels now
        if pending is not None:
            x = settle(x, pending, fill, due=looks)
            pending = pending.without(looks)
        x = _round_by_group(x, op, amount) if grouped else _round_by_mask(x, op, amount, used)
        if moving:
            before = Pending.none(len(x), x.device) if pending is None else pending
            pending = before.then(matrices(op, amount, h, w), (op > 0) & ~looks)
    return x, pending


def matrices(op: Tensor, amount: Tensor, h: int, w: int) -> Tensor:
    """[n, 2, 3] the map of each row's geometric op, as Pillow has it; the identity for the others."""
    zero = torch.zeros_like(amount)

    def only(name: str) -> Tensor:
        return torch.where(op == ID[name], amount, zero)

    turned = about_centre(
        h,
        w,
        degrees=only("rotate"),
        zoom=torch.where(op == ID["rescale"], amount, 1 + zero),
        shear_x=zero,
        shear_y=zero,
        move_x=only("translate_x"),
        move_y=only("translate_y"),
    )
    turned[:, 0, 1] += only("shear_x")  # about the upper left corner, where Pillow's transform has its origin
    turned[:, 1, 0] += only("shear_y")
    return turned


def _round_by_group(x: Tensor, op: Tensor, amount: Tensor) -> Tensor:
    counts = torch.bincount(op, minlength=len(OPS)).tolist()
    if sum(counts[_TABLES_FROM:]) == 0:
        return x
    order = op.argsort(stable=True)
    images, amount = x.index_select(0, order), amount[order]  # the rows of an op lie together
    at, end = sum(counts[:_TABLES_FROM]), sum(counts[:_KERNELS_FROM])
    sizes = counts[_TABLES_FROM:_KERNELS_FROM]
    parts = zip(TABLES.values(), torch.split(images[at:end], sizes), torch.split(amount[at:end], sizes), strict=True)
    tables = [table(make, part, value) for make, part, value in parts if len(part)]
    if tables:
        images[at:end] = look_up(images[at:end], torch.cat(tables))
    for kernel, count in zip(KERNELS.values(), counts[_KERNELS_FROM:], strict=True):
        if count:
            images[end : end + count] = kernel(images[end : end + count], amount[end : end + count])
        end += count
    return images.index_select(0, order.argsort())


def _round_by_mask(x: Tensor, op: Tensor, amount: Tensor, used: tuple[str, ...]) -> Tensor:
    n, c = x.shape[:2]
    tables = torch.arange(256, device=x.device).to(torch.uint8).expand(n, c, 256)
    for name, make in TABLES.items():
        if name in used:
            tables = torch.where((op == ID[name])[:, None, None], table(make, x, amount), tables)
    view = look_up(x, tables)
    for name, kernel in KERNELS.items():
        if name in used:
            view = torch.where((op == ID[name])[:, None, None, None], kernel(x, amount), view)
    return view
