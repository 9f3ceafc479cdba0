"""`halfseen export`: the model of a run as one ONNX file, checked against the run before it is kept."""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from halfseen.errors import UserError
from halfseen.machine.files import write_bytes
from halfseen.model.model import Model, load_run
from halfseen.model.onnx import NEEDED, OPSET, Graph, about, as_is, need, of_graph, session, to_onnx
from halfseen.run.beginning import began_with, open_own
from halfseen.run.folder import Folder

TOLERANCE = 1e-4  # of a probability
ROUNDING = 1e-5  # classes that are nearer than this have no order
CHECKED = 256  # images


def export(run: Path, out: Path, root: Path | None = None) -> None:
    """Write the file, if it says what the run's model says of images of the run's own data, and print what was checked.

    It is checked before it is written: there is never half a file, nor one that differs.
    """
    need(*NEEDED)
    check_out(out)
    if run.is_file():
        raise UserError(f"{run} is a file; name the folder of the run to export")
    model = load_run(run, torch.device("cpu"))
    payload = to_onnx(model, about(model, run))
    x, which = sample(model, run, root)
    off = largest_difference(
        model, Model(Graph(session(payload)), of_graph(model.facts), model.about, model.device, as_is), x
    )
    check_out(out)  # again: a large network takes a while
    write_bytes(out, payload)
    print(
        f"{out}: {len(payload) / 1e6:.1f} MB, opset {OPSET}; onnxruntime gives {len(x)} {which} the labels of the run, "
        f"probabilities to {off:.0e}"
    )


def check_out(out: Path) -> None:
    if out.is_dir() or out.suffix != ".onnx":
        raise UserError(f"{out} does not end in .onnx; name the file to write, such as model.onnx")
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists already; remove it, or choose another name")


def sample(model: Model, run: Path, root: Path | None) -> tuple[Tensor, str]:
    """Raw rows to compare on, and what to call them: of the run's data where they can be opened, else random ones."""
    folder = Folder(run)
    try:
        config, _ = began_with(folder)
        images = open_own(config, root, model)
    except UserError:
        shape, random = (CHECKED, *model.facts.shape), torch.Generator().manual_seed(0)
        why = "random rows (the data of the run could not be opened)"
        if len(shape) == 4:
            return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random), why
        mean, std = torch.tensor(model.facts.mean), torch.tensor(model.facts.std)
        return mean + std * torch.randn(shape, generator=random), why
    test = images.test_x is not None and len(images.test_x) > 0
    x = cast(Tensor, images.test_x) if test else images.x
    changed = "" if images.fingerprint() == config["fingerprint"] else ", changed since the run"
    kind = "images" if images.is_images else "vectors"
    return (
        x[:: -(-len(x) // CHECKED)],
        f"{'test' if test else 'training'} {kind} of {config['data']}{changed}",
    )


def largest_difference(model: Model, other: Model, x: Tensor) -> float:
    """The largest difference of a probability; one image, seven, and the rest must all go through the same file."""
    P = model.probabilities(x)
    Q = torch.cat([other.probabilities(part) for part in (x[:1], x[1:8], x[8:])])
    off = float((P - Q).abs().max())
    best = P.topk(2, 1).values
    wrong = int(((P.argmax(1) != Q.argmax(1)) & (best[:, 0] - best[:, 1] > ROUNDING)).sum())
    if wrong or not off <= TOLERANCE:
        raise UserError(
            f"the ONNX file gives {wrong} of {len(x)} images another label than the run, and probabilities differ by "
            f"up to {off:.2g}, so it was not written; try another version of torch, onnxscript or onnxruntime"
        )
    return off
