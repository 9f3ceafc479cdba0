"""What happens to pixel values: Pillow's ImageOps and ImageEnhance for batches of bytes, each image in its own way.

Most of these ops send equal values of a channel to equal values, so each is a table of 256 entries per image and
channel (`TABLES`), and all images of a batch go through their tables in one look-up, whatever their ops are. The few
that mix channels or neighbours are functions of the pixels (`KERNELS`). Images are [n, c, h, w] uint8 with c = 1 or 3,
`amount` is [n] float32.
"""

from collections.abc import Callable

import torch
from torch import Tensor

TableOp = Callable[[Tensor, Tensor], Tensor]  # images, amount -> [n, c or 1, 256] floats, later cut to 0..255
KernelOp = Callable[[Tensor, Tensor], Tensor]  # images, amount -> images


def look_up(x: Tensor, tables: Tensor) -> Tensor:
    """x [n, c, h, w] through tables [n, c, 256]."""
    n, c, h, w = x.shape
    return tables.reshape(n * c, 256).gather(1, x.reshape(n * c, h * w).long()).view(x.shape)


def table(op: TableOp, x: Tensor, amount: Tensor) -> Tensor:
    """[n, c, 256] uint8."""
    made = op(x, amount).clamp(0, 255).to(torch.uint8)
    return made.expand(len(x), x.shape[1], 256)


def ramp(x: Tensor) -> Tensor:
    """[256] the table that changes nothing."""
    return torch.arange(256, dtype=torch.float64, device=x.device)


def _blend(one: Tensor, two: Tensor, amount: Tensor) -> Tensor:
    """one + amount (two - one) in float32, as Image.blend computes it: amounts above 1 exaggerate."""
    return one.float() + amount[:, None, None] * (two - one).float()


def autocontrast(x: Tensor, amount: Tensor) -> Tensor:
    """Stretch each channel to 0..255 (ImageOps.autocontrast), `amount` of the way."""
    low, high = x.flatten(2).amin(2, keepdim=True).double(), x.flatten(2).amax(2, keepdim=True).double()  # [n, c, 1]
    scale = torch.full_like(low, 255) / (high - low).clamp_min(1)  # 255 / tensor would round twice
    stretched = (ramp(x) * scale - low * scale).trunc().clamp(0, 255)
    return _blend(ramp(x), torch.where(high > low, stretched, ramp(x)), amount)


def brightness(x: Tensor, amount: Tensor) -> Tensor:
    """Blend with black (ImageEnhance.Brightness)."""
    return ramp(x).float() * amount[:, None, None]


def contrast(x: Tensor, amount: Tensor) -> Tensor:
    """Blend with the mean grey of the image (ImageEnhance.Contrast)."""
    grey = grey_of(x).flatten(2).mean(2, keepdim=True, dtype=torch.float64)  # [n, 1, 1]
    return _blend((grey + 0.5).trunc(), ramp(x), amount)


def equalise(x: Tensor, amount: Tensor) -> Tensor:
    """Make all values of a channel equally frequent (ImageOps.equalize), `amount` of the way."""
    h, w = x.shape[-2:]
    count = histogram(x)  # [n, c, 256]
    last = count.gather(2, x.flatten(2).amax(2, keepdim=True).long())  # pixels with the greatest value
    step = (h * w - last).div(255, rounding_mode="floor")
    below = count.cumsum(2) - count + step.div(2, rounding_mode="floor")
    equal = below.div(step.clamp_min(1), rounding_mode="floor").clamp(0, 255).double()
    return _blend(ramp(x), torch.where(step > 0, equal, ramp(x)), amount)


def histogram(x: Tensor) -> Tensor:
    """[n, c, 256] int64."""
    n, c, h, w = x.shape
    first = torch.arange(n * c, dtype=torch.int32, device=x.device)[:, None] * 256
    places = (x.reshape(n * c, h * w).int() + first).flatten()
    if x.device.type == "cpu":
        return torch.bincount(places, minlength=n * c * 256).view(n, c, 256)
    places = places.long()  # bincount would make the host wait for the device
    count = torch.zeros(n * c * 256, dtype=torch.int64, device=x.device)
    return count.scatter_add_(0, places, torch.ones_like(places)).view(n, c, 256)


def invert(x: Tensor, amount: Tensor) -> Tensor:
    """255 - v, `amount` of the way."""
    return _blend(ramp(x), 255 - ramp(x), amount)


def posterise(x: Tensor, amount: Tensor) -> Tensor:
    """Keep the `amount` highest bits of each value (ImageOps.posterize)."""
    unit = torch.exp2(8 - amount.double().trunc().clamp(0, 8))[:, None, None]
    return ramp(x) - ramp(x).remainder(unit)


def solarise(x: Tensor, amount: Tensor) -> Tensor:
    """Invert the values from `amount` on (ImageOps.solarize)."""
    return torch.where(ramp(x) < amount.double()[:, None, None], ramp(x), 255 - ramp(x))


def grey_of(x: Tensor) -> Tensor:
    """[n, 1, h, w] float32 whole numbers: Pillow's conversion to "L", whose 16-bit weights a float32 sums exactly."""
    if x.shape[1] == 1:
        return x.float()
    red, green, blue = x.float().unbind(1)
    return ((red * 19595).add_(green, alpha=38470).add_(blue, alpha=7471).add_(32768) / 65536).floor_()[:, None]


def colour(x: Tensor, amount: Tensor) -> Tensor:
    """Blend with the grey image (ImageEnhance.Color)."""
    if x.shape[1] == 1:
        return x
    return _mixed(grey_of(x), x, amount)


def smoothed(x: Tensor) -> Tensor:
    """ImageFilter.SMOOTH: 3x3 with weight 5 in the middle; the outermost pixels stay. Float32 whole numbers."""
    y = x.float()
    if min(x.shape[-2:]) < 3:
        return y
    rows = y[..., :-2, :] + y[..., 1:-1, :] + y[..., 2:, :]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = y[..., 1:-1, 1:-1]
    inner.copy_(total.add_(inner, alpha=4).div_(13).add_(0.5).floor_())
    return y


def sharpness(x: Tensor, amount: Tensor) -> Tensor:
    """Blend with the smoothed image (ImageEnhance.Sharpness)."""
    return _mixed(smoothed(x), x, amount)


def smooth(x: Tensor, amount: Tensor) -> Tensor:
    """Smooth, `amount` of the way."""
    return _mixed(smoothed(x), x, 1 - amount)


def hue(x: Tensor, amount: Tensor) -> Tensor:
    """Turn the hue by `amount` of the colour circle; value and saturation (of HSV) stay."""
    if x.shape[1] == 1:
        return x
    y = x.float()
    red, green, blue = y.unbind(1)
    value, least = y.amax(1), y.amin(1)  # [n, h, w]
    chroma = value - least
    safe = chroma.clamp_min(1)
    sixth = torch.where(  # hue in sixths of the circle, from red
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    sixth += 6 * amount[:, None, None]
    view = torch.empty_like(x)
    for channel, start in enumerate((5, 3, 1)):
        k = (sixth + start).remainder(6)
        share = torch.minimum(k, 4 - k).clamp(0, 1)
        view[:, channel] = (value - chroma * share + 0.5).to(torch.uint8)
    return view


def _mixed(one: Tensor, x: Tensor, amount: Tensor) -> Tensor:
    """Image.blend(one, x, amount) in float32, cut to 0..255 and truncated."""
    mixed = x.float().sub_(one).mul_(amount[:, None, None, None]).add_(one)
    return mixed.clamp_(0, 255).to(torch.uint8)


TABLES: dict[str, TableOp] = {
    "autocontrast": autocontrast,
    "brightness": brightness,
    "contrast": contrast,
    "equalise": equalise,
    "invert": invert,
    "posterise": posterise,
    "solarise": solarise,
}
KERNELS: dict[str, KernelOp] = {"colour": colour, "sharpness": sharpness, "smooth": smooth, "hue": hue}
