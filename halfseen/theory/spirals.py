"""CCN's Figure 4: what Net 1 and CCN say all over the plane of two spirals, while they are trained.

Spec 2.7: 2 x 1000 points of which 40 have a label, the variant without mutual learning, an mlp 2-300-300-300-2, Adam at
.001, 40 + 200 rows a step, VAT with eps .1, mu_max 15 (w_max 30 over 2 classes), 300 epochs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.run.folder import Folder
from halfseen.run.session import Session
from halfseen.settings import Settings
from halfseen.training.trainer import Trainer

EPOCHS = (0, 5, 20, 60, 150, 300)  # shown
ROWS = {"net1": "Net 1", "ccn": "CCN"}  # predictor -> its row of the figure, top and bottom
REACH = 1.25  # half the side of the plane that is shown; the spirals have radius 1
BLUE, ORANGE = "#0072B2", "#C4500A"
COLOURS = [[0.0, "#9CC7E6"], [0.5, "#FFFFFF"], [1.0, "#F2B998"]]


@dataclass(frozen=True)
class Frame:
    """One moment of training."""

    epoch: int
    regions: dict[str, NDArray[np.float32]]  # predictor -> [side, side] probability of the second class, rows are y
    accuracy: dict[str, float]  # on the 2,000 test points


class Camera:
    """A watcher that keeps a frame at the end of some epochs."""

    def __init__(self, trainer: Trainer, shown: tuple[int, ...], side: int) -> None:
        self.trainer, self.shown, self.side, self.frames = trainer, shown, side, list[Frame]()
        self.film(0)

    def logged(self, row: dict[str, Any]) -> None: ...
    def evaluated(self, row: dict[str, Any]) -> None: ...

    def at(self, step: int, steps: int, stage: str) -> None:
        self.film(step)

    def film(self, step: int) -> None:
        epoch, rest = divmod(step, self.trainer.plan.epoch_steps("unlabeled_pass"))
        if rest or epoch not in self.shown:
            return
        judge, axis = self.trainer.judge, torch.linspace(-REACH, REACH, self.side)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        plane = torch.stack([x.flatten(), y.flatten()], 1)
        test_x, test_y = judge.parts["test"]
        regions: dict[str, NDArray[np.float32]] = {}
        accuracy: dict[str, float] = {}
        for name, net in self.trainer.method.predictors().items():
            if name in ROWS:
                regions[name] = second(judge.logits(net, plane)).view(self.side, self.side).numpy()
                accuracy[name] = (judge.logits(net, test_x).argmax(1) == test_y).double().mean().item()
        self.trainer.method.train()
        self.frames.append(Frame(epoch, regions, accuracy))


def second(logits: Tensor) -> Tensor:
    return nn.functional.softmax(logits, 1)[:, 1]


def film(
    out: Path | str, *, shown: tuple[int, ...] = EPOCHS, vat: bool = True, seed: int = 0, side: int = 120
) -> list[Frame]:
    """Train CCN on the spirals in the run folder `out`, to the last epoch of `shown`; the figure is `out`/regions.html.

    vat = False leaves the adversarial term out. side: points of the plane along an edge.
    """
    if list(shown) != sorted(set(shown)) or not shown or shown[-1] < 1:
        raise UserError(f"shown={shown}: name the epochs to show in rising order, as in (0, 20, 300)")
    toy = ("use_ml=false", f"use_vat={str(vat).lower()}", "eps=0.1", "w_max=30", "optim.lr=0.001")
    settings = Settings(
        method="ccn",
        net="mlp",
        overrides=tuple(f"method.{key}" for key in toy),
        num_labels=40,
        val="none",
        weak="none",
        strong="none",
        batch=40,
        unlabelled_batch=200,
        epochs=float(shown[-1]),
        seed=seed,
        split_seed=seed,
        device="cpu",
        precision="fp32",
        report=False,
        quiet=True,
    )
    cameras: list[Camera] = []

    def camera(trainer: Trainer) -> Camera:
        cameras.append(Camera(trainer, shown, side))
        return cameras[0]

    run = Session("two-spirals", settings, Path(out), watchers=[camera])
    run.run()
    frames, labelled = cameras[0].frames, run.split.labelled
    Folder(Path(out)).write("frames.json", [{"epoch": f.epoch, "accuracy": f.accuracy} for f in frames])
    draw(Path(out) / "regions.html", frames, run.images.x[labelled], run.images.y[labelled], run.images.x)
    return frames


def draw(path: Path, frames: list[Frame], labelled: Tensor, y: Tensor, points: Tensor) -> None:
    """One HTML file that needs no network: a column for each frame, Net 1 above, CCN below."""
    import plotly.io as io
    from plotly.subplots import make_subplots

    titles = [f"{ROWS[p]}, epoch {f.epoch}: {f.accuracy[p]:.1%}" for p in ROWS for f in frames]
    gap = 0.04 / max(1, len(frames) - 1)
    figure = make_subplots(len(ROWS), len(frames), subplot_titles=titles, horizontal_spacing=gap, vertical_spacing=0.08)
    axis = np.linspace(-REACH, REACH, len(frames[0].regions["net1"])).round(4).tolist()
    hidden: dict[str, Any] = {"visible": False, "range": [-REACH, REACH]}
    for row, predictor in enumerate(ROWS, start=1):
        for column, frame in enumerate(frames, start=1):
            at = {"row": row, "col": column}
            z = frame.regions[predictor].astype(float).round(3).tolist()
            figure.add_heatmap(x=axis, y=axis, z=z, zmin=0, zmax=1, colorscale=COLOURS, showscale=False, **at)
            figure.add_scatter(**marks(points[::4], "#666666", 2), **at)
            for k, colour in enumerate((BLUE, ORANGE)):
                figure.add_scatter(**marks(labelled[y == k], colour, 7), **at)
            figure.update_xaxes(**hidden, **at)
            figure.update_yaxes(**hidden, scaleanchor=f"x{(row - 1) * len(frames) + column}", **at)
    figure.update_annotations(font_size=12)
    figure.update_layout(
        template="none", showlegend=False, width=230 * len(frames), height=540, margin={"l": 8, "r": 8, "t": 32, "b": 8}
    )
    page = io.to_html(figure, config={"displayModeBar": False}, include_plotlyjs=True, full_html=True)
    path.write_text(page, encoding="utf-8")


def marks(x: Tensor, colour: str, size: int) -> dict[str, Any]:
    """Points of the plane; at most a few, or they would hide the regions."""
    style = {"color": colour, "size": size, "line": {"color": "white", "width": 1 if size > 4 else 0}}
    across, up = (v.double().numpy().round(3).tolist() for v in x.unbind(1))
    return {"x": across, "y": up, "mode": "markers", "marker": style, "hoverinfo": "skip"}
