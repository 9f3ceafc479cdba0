"""Pictures as a browser shows them: decoded by the rules of training, upright, no larger than asked for."""

import functools
import io
from pathlib import Path

from PIL import Image

from halfseen.data.images import BadImageError, decode
from halfseen.errors import UserError, quoted

SIDES = (160, 1200, 3000)  # of a grid, of the stage, of the zoom
LOSSLESS = 256  # pixels up to which a picture stays as it is


@functools.lru_cache(maxsize=400)
def shown(file: Path, side: int) -> tuple[bytes, str]:
    """The file's picture with a longer side of at most `side`, and its media type."""
    try:
        array = decode(file)
    except BadImageError as e:
        raise UserError(f"{quoted(file.name)} cannot be shown: {e}") from e
    picture = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if max(picture.size) <= LOSSLESS:
        picture.save(buffer, "PNG")
        return buffer.getvalue(), "image/png"
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue(), "image/jpeg"
