"""Where the pixels of a view come from: whole-pixel shifts and flips, affine warps, and rectangular holes.

Shifts and flips look pixels up and lose nothing. Affine maps are collected as 2x3 matrices (`Pending`) and resampled
once, when a step needs the pixels: a chain of rotations, shears and zooms costs, and blurs, no more than one of them.

A matrix M maps output to source coordinates, as Pillow's Image.transform(AFFINE) does: the pixel in column j and row i
has its centre at (j + 1/2, i + 1/2), and shows the source at M (j + 1/2, i + 1/2, 1).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Pending:
    """Affine maps that have been chosen and not yet resampled."""

    matrix: Tensor  # [n, 2, 3] float64
    moved: Tensor  # [n] bool; False: the identity

    @classmethod
    def none(cls, n: int, device: torch.device) -> "Pending":
        matrix = torch.eye(2, 3, dtype=torch.float64, device=device).repeat(n, 1, 1)
        return cls(matrix, torch.zeros(n, dtype=torch.bool, device=device))

    def then(self, matrix: Tensor, moved: Tensor) -> "Pending":
        """The map of a view of this view: source = self(matrix(output)); rows that are not `moved` stay."""
        first, last = self.matrix[:, :, :2], matrix.to(torch.float64)
        both = (first[:, :, :, None] * last[:, None, :, :]).sum(2)  # [n, 2, 3] = first @ last, in exact float64
        both[:, :, 2] += self.matrix[:, :, 2]
        return Pending(torch.where(moved[:, None, None], both, self.matrix), self.moved | moved)

    def without(self, rows: Tensor) -> "Pending":
        fresh = Pending.none(len(rows), rows.device)
        return Pending(torch.where(rows[:, None, None], fresh.matrix, self.matrix), self.moved & ~rows)


def shift(x: Tensor, dy: Tensor, dx: Tensor, flipped: Tensor | None = None) -> Tensor:
    """Pixel (i, j) of the view is pixel (i + dy, j + dx) of the reflected image; then `flipped` rows are mirrored.

    x [n, c, h, w] of any type; dy, dx [n] whole numbers; flipped [n] bool.
    """
    n, c, h, w = x.shape
    rows = _reflected(torch.arange(h, device=x.device) + dy[:, None], h)  # [n, h]
    columns = torch.arange(w, device=x.device).expand(n, w)
    if flipped is not None:
        columns = torch.where(flipped[:, None], w - 1 - columns, columns)
    columns = _reflected(columns + dx[:, None], w)  # [n, w]
    source = (rows[:, :, None] * w + columns[:, None, :]).view(n, 1, h * w).expand(n, c, h * w)
    return x.reshape(n, c, h * w).gather(2, source).view(n, c, h, w)


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices of a line that is mirrored at its end pixels, which are not repeated: -1 -> 1, size -> size - 2."""
    if size == 1:
        return torch.zeros_like(index)
    period = 2 * (size - 1)
    index = index.remainder(period)
    return torch.minimum(index, period - index)


def settle(x: Tensor, pending: Pending, fill: int, due: Tensor | None = None) -> Tensor:
    """Resample the rows that have moved (of these only the `due` ones); the others keep their pixels bit for bit."""
    rows = pending.moved if due is None else pending.moved & due  # [n]
    if x.device.type != "cpu":  # choosing rows would make the host wait for the device
        return torch.where(rows[:, None, None, None], warp(x, pending.matrix, fill), x)
    count = int(rows.sum())
    if count == 0:
        return x
    if count == len(x):
        return warp(x, pending.matrix, fill)
    order = rows.logical_not().argsort(stable=True)  # the moved rows first
    images, matrix = x.index_select(0, order), pending.matrix.index_select(0, order[:count])
    images[:count] = warp(images[:count], matrix, fill)
    return images.index_select(0, order.argsort())


def warp(x: Tensor, matrix: Tensor, fill: int) -> Tensor:
    """Image.transform(size, AFFINE, matrix, BILINEAR, fillcolor=fill) of Pillow for every image, each with its matrix.

    As Pillow does: a pixel whose source lies outside [0, w) x [0, h) becomes `fill`; inside, the outermost half pixel
    repeats the edge; the value is truncated. Coordinates are rounded to float32, so a pixel whose source lies within
    1e-5 pixels of the frame may fall on the other side of it than in Pillow.
    """
    n, _, h, w = x.shape
    if n == 0:
        return x
    if x.device.type != "cpu":
        return _warp(x, matrix, fill)
    rows = max(1, 2**17 // (h * w))  # what lies between input and output fits the cache
    return torch.cat([_warp(*part, fill) for part in zip(torch.split(x, rows), torch.split(matrix, rows), strict=True)])


def _warp(x: Tensor, matrix: Tensor, fill: int) -> Tensor:
    h, w = x.shape[-2:]
    unit = torch.stack((matrix[:, 0].double() * (2 / w), matrix[:, 1].double() * (2 / h)), dim=1)  # frame [0, 2)^2
    along = unit[:, :, 0, None] * _centres(w, x.device)  # [n, 2, w]
    down = unit[:, :, 1, None] * _centres(h, x.device) + unit[:, :, 2, None] - 1  # [n, 2, h]
    source = down.float()[:, :, :, None] + along.float()[:, :, None, :]  # [n, 2, h, w] in [-1, 1) inside
    inside = (source.clamp(-1, 1 - 2**-24) == source).view(torch.uint8)
    seen = inside[:, :1] * inside[:, 1:]  # [n, 1, h, w]
    grid = torch.stack((source[:, 0], source[:, 1]), dim=3)
    values = F.grid_sample(x.float(), grid, padding_mode="border", align_corners=False)
    view = values.add_(2**-9).to(torch.uint8)  # a value that is 99 may have come out as 98.9999
    view.mul_(seen)
    return view.add_((1 - seen) * fill) if fill else view


def _centres(size: int, device: torch.device) -> Tensor:
    return torch.arange(size, dtype=torch.float64, device=device) + 0.5


def about_centre(
    h: int,
    w: int,
    *,
    degrees: Tensor,
    zoom: Tensor,
    shear_x: Tensor,
    shear_y: Tensor,
    move_x: Tensor,
    move_y: Tensor,
) -> Tensor:
    """Matrices [n, 2, 3] that rotate, zoom and shear about the middle of the picture and then move it; inputs are [n].

    `degrees` turns counter-clockwise as Image.rotate; `zoom` > 1 shows a larger part of the source; moves are pixels.
    """
    angle = torch.deg2rad(degrees.double())
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    xx, xy = cos - sin * shear_y, cos * shear_x - sin
    yx, yy = sin + cos * shear_y, sin * shear_x + cos
    x0 = w / 2 - (xx * (w / 2) + xy * (h / 2)) + move_x
    y0 = h / 2 - (yx * (w / 2) + yy * (h / 2)) + move_y
    return torch.stack((xx, xy, x0, yx, yy, y0), dim=1).view(-1, 2, 3)


def cutout(x: Tensor, centre_y: Tensor, centre_x: Tensor, side: Tensor, colour: tuple[int, ...]) -> Tensor:
    """A square hole of side [n] about each centre [n], cut off at the edge; colour: one value, or one for each channel.

    The hole covers rows centre - side // 2 up to, not including, centre - side // 2 + side; columns alike.
    """
    h, w = x.shape[-2:]
    rows = _within(torch.arange(h, device=x.device), centre_y, side)
    columns = _within(torch.arange(w, device=x.device), centre_x, side)
    hole = rows[:, :, None] * columns[:, None, :]  # [n, h, w]
    view = x * (1 - hole)[:, None]  # arithmetic on bytes: eight times as fast as torch.where on a CPU
    for channel in range(x.shape[1]):
        view[:, channel] += hole * colour[channel % len(colour)]
    return view


def _within(index: Tensor, centre: Tensor, side: Tensor) -> Tensor:
    first = (centre - side // 2)[:, None]
    return ((index >= first) & (index < first + side[:, None])).view(torch.uint8)
