"""A finished run as one ONNX file: raw images in, probabilities out; how to use it stands in the file's own metadata."""

import contextlib
import copy
import hashlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

import halfseen
from halfseen.augment.whitening import whitened
from halfseen.backbones.onnx import Graph as Below
from halfseen.errors import UserError
from halfseen.model.facts import Facts
from halfseen.model.joined import FEATURES, PIXELS, After, Before, example, joined
from halfseen.model.model import Model, read_facts
from halfseen.model.pixels import OnPixels
from halfseen.training.judge import adjusted

FORMAT = 1
OPSET = 18  # of ONNX 1.13; onnxruntime 1.14 and later know it
NEEDED = ("onnx", "onnxscript", "onnxruntime")
PREFIX = "halfseen."  # of the metadata's keys


def need(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{' and '.join(missing)} must be installed for ONNX files; run pip install 'halfseen[onnx]'")


# ---- the graph -----------------------------------------------------------------------------------------------------------


class Whole(nn.Module):
    """A network with the normalisation before it and the softmax after it."""

    scale: Tensor
    offset: Tensor
    mean: Tensor  # of the whitening, where there is one
    matrix: Tensor

    def __init__(self, net: nn.Module, facts: Facts) -> None:
        super().__init__()
        self.net, self.per_image = net, facts.per_image and len(facts.shape) == 3
        self.adjust = facts.adjust
        top = 255 if len(facts.shape) == 3 else 1
        like = (1, -1, *[1] * (len(facts.shape) - 1))
        mean, std = (torch.tensor(v, dtype=torch.float64).view(like) for v in (facts.mean, facts.std))
        self.register_buffer("scale", (1 / (top * std)).float())
        self.register_buffer("offset", (-mean / std).float())
        self.whiten = facts.whitening is not None
        for name, tensor in facts.whitening.tensors().items() if facts.whitening else ():
            self.register_buffer(name, tensor)

    def forward(self, raw: Tensor) -> Tensor:
        x = raw.float()
        if self.whiten:
            x = whitened(x, self.mean, self.matrix)
        elif self.per_image:
            x = x - x.mean((1, 2, 3), keepdim=True)
            x = x / x.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1.0)
        else:
            x = x * self.scale + self.offset
        logits: Tensor = self.net(x)
        return adjusted(logits.float(), self.adjust).softmax(1)


def to_onnx(model: Model, metadata: dict[str, str]) -> bytes:
    """The bytes of the file, weights and all, checked by ONNX's own checker."""
    import onnx

    facts = model.facts
    rows = torch.zeros(2, *facts.shape, dtype=torch.uint8 if len(facts.shape) == 3 else torch.float32)
    try:
        if isinstance(model.net, OnPixels) and isinstance(model.net.backbone, Below):
            before = written(Before(model.net.backbone), rows, name_of(facts), PIXELS)
            after = written(
                After(copy.deepcopy(model.net), facts.adjust), example(model.net), FEATURES, "probabilities"
            )
            proto = joined(model.net, before, after, OPSET)
        else:
            proto = written(Whole(copy.deepcopy(model.net), facts), rows, name_of(facts), "probabilities")
        strip(proto)
        proto.producer_name, proto.producer_version = "halfseen", halfseen.__version__
        onnx.helper.set_model_props(proto, metadata)
        onnx.checker.check_model(proto, full_check=True)
        return cast(bytes, proto.SerializeToString())
    except UserError:
        raise
    except Exception as error:  # whatever a network of the user's own does that has no form in ONNX
        reason = first_line(error)
        raise UserError(f"the net {model.about['net']} cannot be written as ONNX ({reason}); change the net") from error


def written(net: nn.Module, rows: Tensor, takes: str, gives: str) -> Any:
    """A network as a model of ONNX, for any number of rows like these."""
    with quiet():
        program = torch.onnx.export(
            net.eval(),
            (rows,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[takes],
            output_names=[gives],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def name_of(facts: Facts) -> str:
    return "images" if len(facts.shape) == 3 else "vectors"


def strip(proto: Any) -> None:
    """Leave out the exporter's notes on every node: source lines, with the folders of the machine that exported."""
    graph = proto.graph
    for thing in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del thing.metadata_props[:]
        thing.doc_string = ""
    graph.name = "halfseen"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporter talks of what it is about, at length, and torch of its own deprecations."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


# ---- the metadata --------------------------------------------------------------------------------------------------------


def about(model: Model, run: Path) -> dict[str, str]:
    """All that a stranger with onnxruntime must know; and, as JSON, what `load_onnx` reads."""
    folder = run / "model" if (run / "model").is_dir() else run
    facts = model.facts
    told = {
        "version": halfseen.__version__,
        "method": str(model.about["method"]),
        "net": str(model.about["net"]),
        "predictor": str(model.about["predictor"]),
        "data": str(model.about.get("data", "")),
        "classes": json.dumps(facts.classes),
        **(of_pictures(facts) if len(facts.shape) == 3 else of_vectors(facts)),
        "output": f"probabilities: float32 [n, {len(facts.classes)}], rows sum to 1, in the order of classes",
        "weights_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "model": json.dumps({"format": FORMAT, **model.about, "facts": of_graph(facts).as_json()}),
    }
    return {PREFIX + key: value for key, value in told.items()}


def of_pictures(facts: Facts) -> dict[str, str]:
    c, h, w = facts.shape
    colour = "RGB" if c == 3 else "grey: Pillow's L, (19595 R + 38470 G + 7471 B + 32768) >> 16"
    if facts.zca:
        by = "ZCA: (x / 255 - mean) times the matrix"
    elif facts.per_image:
        by = "(x - mean) / deviation, by its own mean and deviation (at least 1)"
    else:
        by = f"(x - mean) / deviation, by mean {facts.mean} and deviation {facts.std}, of x / 255"
    return {
        "input": f"images: uint8 [n, {c}, {h}, {w}], raw bytes 0 to 255; n is free",
        "shape": json.dumps(facts.shape),
        "resize": f"turn upright by EXIF, then stretch to height {h} and width {w} without cropping: Pillow's BICUBIC",
        "channels": f"{colour}; what is transparent is put on white first; 16-bit greys are divided by 257",
        "normalisation": f"inside the graph: {by}",
    }


def of_vectors(facts: Facts) -> dict[str, str]:
    return {
        "input": f"vectors: float32 [n, {facts.shape[0]}], as they are; n is free",
        "shape": json.dumps(facts.shape),
        "normalisation": "inside the graph: (x - mean) / deviation of each feature over the training set",
    }


# ---- the check -----------------------------------------------------------------------------------------------------------


# ---- the file in use -----------------------------------------------------------------------------------------------------


def of_graph(facts: Facts) -> Facts:
    """What is still to be known beside the graph, which adjusts its logits by itself."""
    return replace(facts, adjust=())


class Graph(nn.Module):
    """The session of an ONNX file as a network: raw rows in; its logits are the logarithms of the probabilities."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session, self.name = session, session.get_inputs()[0].name

    def forward(self, raw: Tensor) -> Tensor:
        rows = raw.cpu().numpy()
        found = self.session.run(None, {self.name: rows if rows.dtype == np.uint8 else rows.astype(np.float32)})[0]
        p = torch.from_numpy(found)
        return p.clamp_min(torch.finfo(p.dtype).tiny).log()


def as_is(raw: Tensor) -> Tensor:
    return raw


def session(source: bytes | str, cuda: bool = False) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors; its warnings are about the machine
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    providers = ["CUDAExecutionProvider"] * cuda + ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(source, options, providers)


def load_onnx(path: Path, device: torch.device) -> Model:
    """The model in a file that `halfseen export` wrote."""
    need("onnxruntime")
    import onnxruntime

    if not path.is_file():
        raise UserError(f"there is no file {path}; name a run folder, or a file that halfseen export wrote")
    cuda = device.type == "cuda"
    if cuda and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise UserError("this onnxruntime cannot use a GPU; install onnxruntime-gpu, or take --device cpu")
    try:
        opened = session(str(path), cuda)
        stored = opened.get_modelmeta().custom_metadata_map
    except Exception as error:  # onnxruntime's own errors have no common class
        raise UserError(
            f"{path} is no ONNX file that can be used ({first_line(error)}); export the run again"
        ) from error
    if PREFIX + "model" not in stored:
        raise UserError(f"{path} was not written by halfseen export, so its classes and its size are not known")
    try:
        known = json.loads(stored[PREFIX + "model"])
        facts = read_facts(known["facts"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"the metadata of {path} are damaged ({error}); export the run again") from error
    return Model(Graph(opened), facts, known, torch.device("cpu"), as_is)
