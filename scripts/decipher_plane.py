"""R2-D2's Figure 2: LeNet with two features, 1,000 labels of MNIST, its plane after each stage, and the theorems' gaps.

    python scripts/decipher_plane.py --root data --out runs/r2d2-f2 --share 0.2    # a fifth of the figure's length

No augmentation, 128 rows of which 32 have a label, rates .02, .03, .01; 30, 60 and 10 epochs of the labelled, the
unlabelled and all images. Here all 60,000 images train (the paper: the first 50,000), and the second 30 epochs of D2 are
its repeat with repredictions. The paper does not tell the toy's rates: of .05, .02 and .01 for the labels alone, .05
diverges on tuning draw 100 and .02 is better than .01 there. The figure is of label draw 0.
Writes results/r2d2-f2/results.json, plane.svg and gaps.svg.

What is measured, on the labelled images and on 5,000 unlabelled ones that are drawn once:
scatter: squared distance to the mean of the true class (within), that of the class means to the mean of all (between);
theorem 1: |ptil_n - exp(-L/alpha) phat_n^(1 - beta/alpha)|, largest over the classes, mean and 95% quantile over the images;
theorem 2: share of the images with max ptil <= max phat, and the mean of max phat - max ptil.
The theorems are about a network at its optimum for labels that stand still; in D2 both move.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from halfseen.machine.environment import environment
from halfseen.machine.files import write_bytes, write_json
from halfseen.methods.r2d2 import theorem1_gap
from halfseen.parts.forward import eval_mode
from halfseen.report.chart import Chart, linear
from halfseen.run.folder import Folder
from halfseen.run.session import Session
from halfseen.settings import Settings
from halfseen.theory.r2d2 import loss
from halfseen.training.trainer import Trainer

RESULTS = Path("results/r2d2-f2")
STEPS = (750, 18_425, 18_425, 4_687)  # 30 x 1,000/40; 30 x 59,000/96, twice; 10 x 60,000/128
SAMPLE, SHOWN = 5000, 1000  # unlabelled images that are measured, and that are drawn
READINGS = 40  # of the gaps
TITLES = {"supervised": "labels alone", "d2": "after D2", "finetune": "fine-tuned"}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56606a", "#b8860b", "#56b4e9", "#7a3b00", "#222222", "#8f63c5")
BOX, GAP = 200, 10


class Plane:
    """A watcher: the plane at the end of each stage, and the gaps along D2."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.stages, self.gaps = trainer, list[dict[str, Any]](), list[dict[str, Any]]()
        self.method: Any = trainer.method  # an R2D2
        self.points: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}  # stage -> which images -> features, classes
        random = torch.Generator().manual_seed(0)
        unlabelled = trainer.data.unlabelled
        ids = unlabelled[torch.randperm(len(unlabelled), generator=random)[:SAMPLE]]
        self.ids = {"labelled": trainer.data.labelled, "unlabelled": ids}
        self.every = max(1, trainer.total_steps // READINGS)

    def logged(self, row: dict[str, Any]) -> None: ...
    def evaluated(self, row: dict[str, Any]) -> None: ...

    def at(self, step: int, steps: int, stage: str) -> None:
        trainer = self.trainer
        last = trainer.step == trainer.stage.steps
        if stage == "d2" and (last or step % self.every == 0 or trainer.step == 1):
            self.gaps.append({"step": step, **self.theorems()})
        if last:
            self.look(step, stage)
        trainer.method.train()

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Features [n, 2] and logits of clean images."""
        net = self.method.net
        with torch.no_grad(), eval_mode(net):
            rows = [net.features(self.method.clean(x)) for _, x in self.trainer.data.sweep(ids)]
            features = torch.cat(rows)
            return features, net.head(features)

    def look(self, step: int, stage: str) -> None:
        told: dict[str, Any] = {"stage": stage, "step": step}
        self.points[stage] = {}
        for which, ids in self.ids.items():
            features, logits = self.forward(ids)
            y = self.trainer.truth[ids]
            told[which] = {
                "accuracy": (logits.argmax(1) == y).double().mean().item(),
                "within": scatter(features, y)[0],
                "between": scatter(features, y)[1],
            }
            self.points[stage][which] = features, y
        judge = self.trainer.judge
        x, y = judge.parts["test"]
        net = self.method.net
        told["test"] = (judge.logits(net, x).argmax(1) == y).double().mean().item()
        self.stages.append(told)

    def theorems(self) -> dict[str, float]:
        method, ids = self.method, self.ids["unlabelled"]
        alpha, beta = method.cfg.alpha, method.cfg.beta
        _, yhat = self.forward(ids)
        ytil = method.pseudo[ids].detach()
        gap = theorem1_gap(yhat, ytil, loss(yhat, ytil, alpha, beta), alpha, beta)
        more = yhat.softmax(1).amax(1) - ytil.softmax(1).amax(1)
        return {
            "theorem1": gap.mean().item(),
            "theorem1_95": gap.quantile(0.95).item(),
            "theorem2_holds": (more >= 0).double().mean().item(),
            "theorem2": more.mean().item(),
        }


def scatter(features: Tensor, y: Tensor) -> tuple[float, float]:
    """Mean squared distance to the own class's mean, and of the class means to the mean of all, over images."""
    x = features.double()
    means = torch.stack([x[y == k].mean(0) for k in range(int(y.max()) + 1)])
    within = (x - means[y]).square().sum(1).mean()
    between = (means[y] - x.mean(0)).square().sum(1).mean()
    return within.item(), between.item()


def settings(share: float, root: Path | None, draw: int) -> Settings:
    steps = [max(1, round(share * n)) for n in STEPS]
    steps[0] = STEPS[0]  # it takes seconds
    told = (f"shares=[{','.join(map(str, steps))}]", "supervised.lr=0.02", "d2.lr=0.03", "finetune.lr=0.01")
    return Settings(
        method="r2d2",
        net="lenet",
        root=root,
        overrides=tuple(f"method.{key}" for key in told),
        num_labels=1000,
        val="none",
        weak="none",
        strong="none",
        batch=32,
        unlabelled_batch=96,
        steps=sum(steps),
        seed=draw,
        split_seed=draw,
        threads=1,
        device="cpu",
        precision="fp32",
        report=False,
    )


def plane(points: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]], stages: Sequence[Mapping[str, Any]]) -> str:
    """A column for each stage: the labelled images above, unlabelled ones below, each box to its own scale."""
    width, height = len(points) * (BOX + GAP) + GAP, 2 * (BOX + 26) + 30
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for k, (told, (stage, both)) in enumerate(zip(stages, points.items(), strict=True)):
        for i, (which, (features, y)) in enumerate(both.items()):
            x0, y0 = GAP + k * (BOX + GAP), 24 + i * (BOX + 26)
            said = f"{TITLES[stage]}, {which}: {told[which]['accuracy']:.1%}"
            parts.append(f'<text x="{x0 + 2}" y="{y0 - 7}" font-size="12">{said}</text>')
            parts.append(f'<rect x="{x0}" y="{y0}" width="{BOX}" height="{BOX}" fill="none" stroke="#ccc"/>')
            low, high = features.quantile(0.005, 0), features.quantile(0.995, 0)
            at = ((features - low) / (high - low)).clamp(0, 1)[:SHOWN] * (BOX - 8) + 4
            for digit in range(10):
                dots = "".join(f"M{x0 + a:.0f} {y0 + b:.0f}h0" for a, b in at[y[:SHOWN] == digit].tolist())
                parts.append(f'<path d="{dots}" stroke="{COLOURS[digit]}" stroke-width="3" stroke-linecap="round"/>')
    for digit, colour in enumerate(COLOURS):
        parts.append(f'<text x="{GAP + 24 * digit}" y="{height - 10}" font-size="13" fill="{colour}">{digit}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def gaps(rows: Sequence[Mapping[str, float]]) -> str:
    steps = [row["step"] for row in rows]
    chart = Chart(
        "gaps", linear(steps), linear([0, *(row["theorem1_95"] for row in rows)]), ("step", "gap of Theorem 1")
    )
    chart.line(steps, [row["theorem1"] for row in rows], "mean over images", COLOURS[0])
    chart.line(steps, [row["theorem1_95"] for row in rows], "95% quantile", COLOURS[1], "5 3")
    return chart.alone()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path("runs/r2d2-f2"))
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=RESULTS)
    told = parser.parse_args()
    made: list[Plane] = []

    def watch(trainer: Trainer) -> Plane:
        made.append(Plane(trainer))
        return made[0]

    Session("mnist", settings(told.share, told.root, told.draw), told.out, watchers=[watch]).run()
    seen, metrics = made[0], Folder(told.out).read("metrics.json")
    found = {
        "share": told.share,
        "steps": metrics["steps"],
        "minutes": round(metrics["seconds"] / 60, 2),
        "test": metrics["headline"]["test"]["accuracy"],
        "stages": seen.stages,
        "gaps": seen.gaps,
        "environment": environment(torch.device("cpu")),
    }
    write_json(told.keep / "results.json", found)
    write_bytes(told.keep / "plane.svg", plane(seen.points, seen.stages).encode())
    write_bytes(told.keep / "gaps.svg", gaps(seen.gaps).encode())


if __name__ == "__main__":
    main()
