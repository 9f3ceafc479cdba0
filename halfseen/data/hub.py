"""hf:NAME, a data set of the Hugging Face hub, through the package `datasets` (extra `hub`)."""

from collections.abc import Mapping
from typing import Any, cast

from halfseen.data.mapstyle import MapStyle, from_map_style
from halfseen.data.sets import ImageSet
from halfseen.errors import UserError

TEST_PARTS = ("test", "validation", "valid", "val")


def open_hub(name: str, **settings: Any) -> ImageSet:
    """`NAME` or `NAME/CONFIG` after a second slash, as in hf:owner/set/config; its part `train` is learned from."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"hf:{name} needs the package datasets: run `pip install halfseen[hub]`.") from error
    owner_and_set, config = "/".join(name.split("/")[:2]), "/".join(name.split("/")[2:])
    try:
        loaded = datasets.load_dataset(owner_and_set, config or None)
    except Exception as error:  # the hub's client raises errors of many packages: all of them concern this name
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"hf:{name} could not be loaded ({reason}): check the name and the connection.") from error
    parts: Mapping[str, MapStyle] = loaded if isinstance(loaded, Mapping) else {"train": cast(MapStyle, loaded)}
    if "train" not in parts:
        raise UserError(f"hf:{name} has no part train but {', '.join(parts)}: choose a set that has one.")
    test = next((parts[part] for part in TEST_PARTS if part in parts), None)
    return from_map_style(parts["train"], test, name=name, **settings)
