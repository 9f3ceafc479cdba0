"""Names of classes as a person types them, and the keys that stand for them."""

import string
from collections.abc import Sequence

from halfseen.data.sets import plain
from halfseen.data.tables import UNKNOWN
from halfseen.errors import UserError, quoted

LONGEST = 80
KEYS = string.digits[1:] + "0"


def named(text: str, classes: Sequence[str]) -> str:
    """The class that is meant: one that is there, where the two look like one, or a new one."""
    name = " ".join(text.split())
    if not name or not name.isprintable() or len(name) > LONGEST:
        raise UserError(f"{quoted(text)} can be no class: give it a name of 1 to {LONGEST} characters")
    if name in UNKNOWN:
        raise UserError(f"{name} stands for no label in a table: give the class another name")
    return next((known for known in classes if plain(known) == plain(name)), plain(name))


def keys_of(classes: Sequence[str]) -> dict[str, str]:
    """{class: number key}: a class that is called 3 has the key 3; the others have what is left, in their order."""
    keys = {name: name for name in classes if len(name) == 1 and name in KEYS}
    left = [key for key in KEYS if key not in keys.values()]
    others = [name for name in classes if name not in keys]
    return keys | dict(zip(others, left, strict=False))
