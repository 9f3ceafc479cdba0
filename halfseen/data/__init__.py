"""Data: sources become an ImageSet, a Split says which labels are seen, and Streams say in which order images come."""

from halfseen.data.batches import MixedStream, Stream
from halfseen.data.sets import ImageSet
from halfseen.data.sources import NAMES, open_data
from halfseen.data.split import Split, choose_split

__all__ = ["NAMES", "ImageSet", "MixedStream", "Split", "Stream", "choose_split", "open_data"]
