"""An .onnx file from pictures [n, 3, s, s] to features [n, d]; it cannot be trained.

Pictures are normalised as a preprocessor_config.json beside the file says, else by ImageNet's mean and deviation. Of several
outputs the one named pooler_output, features or embeddings is taken, else the first of the right shape.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from halfseen.backbones.backbone import Backbone, digest, first_line, tried
from halfseen.backbones.pixels import FILE, IMAGENET, Normalise, read_pixels
from halfseen.errors import UserError

SIDE = 224
POOLED = ("pooler_output", "features", "embeddings", "image_embeds")


class Graph(Backbone):
    trainable = False

    def __init__(self, name: str, path: Path) -> None:
        super().__init__()
        data = sorted(path.parent.glob(f"{path.name}?data"))  # weights of large graphs lie beside them
        beside = [path.parent / FILE] if (path.parent / FILE).is_file() else []
        self.name, self.file = name, path.name
        self.kept = {file.name: file.read_bytes() for file in (path, *data, *beside)}
        self.session = session = opened(name, path.name, self.kept)
        pictures = the_input(name, session)
        batch, _, height, width = pictures.shape
        self.input, self.output = pictures.name, the_output(name, session)
        self.fixed = isinstance(height, int) or isinstance(width, int)
        own = next((size for size in (height, width) if isinstance(size, int)), SIDE)
        pixels = read_pixels(path.parent, own, IMAGENET)
        self.normalise, self.side = Normalise(pixels), own if self.fixed else pixels.side
        self.least = self.side if self.fixed else 1
        self.rows = batch if isinstance(batch, int) else 0  # 0: any number at once
        self.key = digest(path, *data, *beside, self.output)
        self.eval()
        self.dim = tried(self)

    @torch.no_grad()
    def pooled(self, x: Tensor) -> Tensor:
        ready = self.normalise(x).float()
        parts = ready.split(self.rows) if self.rows else (ready,)
        return torch.cat([self.run(part) for part in parts]).to(x.device)

    def run(self, x: Tensor) -> Tensor:
        n = len(x)
        if n < self.rows:  # the last of several groups
            x = torch.cat([x, x.new_zeros(self.rows - n, *x.shape[1:])])
        h = self.session.run([self.output], {self.input: x.cpu().numpy()})[0]
        return torch.from_numpy(h).float().flatten(1)[:n]

    def layers(self) -> list[nn.Module]:
        return []

    def frozen(self) -> "Graph":
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "session": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.session = opened(self.name, self.file, self.kept)


def the_input(name: str, session: Any) -> Any:
    inputs = session.get_inputs()
    said = ", ".join(f"{i.name} {i.shape}" for i in inputs)
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != "tensor(float)":
        raise UserError(
            f"the backbone {name} must have one input, float [n, 3, s, s], and has {said} ({inputs[0].type}): export it so"
        )
    _, channels, height, width = inputs[0].shape
    if channels not in (3, None) and not isinstance(channels, str):
        raise UserError(f"the backbone {name} takes pictures {inputs[0].shape}, not [n, 3, s, s]: export it so")
    if isinstance(height, int) and isinstance(width, int) and height != width:
        raise UserError(f"the backbone {name} takes pictures of {height}x{width}, and only square ones can be given")
    return inputs[0]


def the_output(name: str, session: Any) -> str:
    """Vectors, or maps of one place."""
    outputs = [o for o in session.get_outputs() if len(o.shape) == 2 or (len(o.shape) == 4 and o.shape[2:] == [1, 1])]
    outputs.sort(key=lambda o: o.name not in POOLED)
    if not outputs:
        said = ", ".join(f"{o.name} {o.shape}" for o in session.get_outputs())
        raise UserError(f"the backbone {name} must give features [n, d], and gives {said}: export it with its pooling")
    return str(outputs[0].name)


def opened(name: str, file: str, kept: Mapping[str, bytes]) -> Any:
    """onnxruntime's session of the graph in this file; the files that it has beside it are only read now."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"the backbone {name} needs onnxruntime: run `pip install halfseen[onnx]`") from error
    onnxruntime.set_default_logger_severity(3)  # errors; its warnings are about the machine
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        with tempfile.TemporaryDirectory() as place:
            for each, payload in kept.items():
                (Path(place) / each).write_bytes(payload)
            return onnxruntime.InferenceSession(str(Path(place) / file), options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors have no common class
        raise UserError(f"{name} is no ONNX file that can be used ({first_line(error)}): export it again") from error


def load_graph(name: str, path: Path) -> Graph:
    if not path.is_file():
        raise UserError(f"there is no file {path}: the backbone {name} cannot be loaded")
    return Graph(name, path)
