"""R2-D2's equations: hand-derived gradients, conserved row sums, the size of a visit, the plan, labels and chunks."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from halfseen import methods
from halfseen.errors import UserError
from halfseen.method import Plan
from halfseen.methods.r2d2 import COMPARE, theorem1_gap
from halfseen.optim import schedule_of
from halfseen.overrides import with_settings
from halfseen.parts.losses import entropy
from halfseen.training import checkpoint
from halfseen.training.trainer import Trainer
from tests.toy import assert_same, make_trainer, stop_after

ALPHA, BETA = 0.1, 0.03
CLASSES = [2, 10, 100]


def rows(k: int, n: int = 5, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(k)
    yhat, ytil = (spread * torch.randn(n, k, generator=g, dtype=torch.float64) for _ in range(2))
    return yhat.requires_grad_(), ytil.requires_grad_()


def L_of(lc: str, yhat: Tensor, ytil: Tensor) -> Tensor:
    return ALPHA * COMPARE[lc](yhat, ytil) + BETA * entropy(yhat)


@pytest.mark.parametrize("lc", COMPARE)
@pytest.mark.parametrize("k", CLASSES)
def test_losses_are_the_formulas_class_by_class(lc: str, k: int) -> None:
    yhat, ytil = rows(k)
    found = L_of(lc, yhat, ytil)
    for a, t, value in zip(yhat.detach(), ytil.detach(), found.detach(), strict=True):
        p, q = ([math.exp(v - m) for v in z.tolist()] for z in (a, t) for m in [z.logsumexp(0).item()])
        compare = {
            "kl": sum(pn * math.log(pn / qn) for pn, qn in zip(p, q, strict=True)),
            "kl_pseudo_pred": sum(qn * math.log(qn / pn) for pn, qn in zip(p, q, strict=True)),
            "l2": sum((pn - qn) ** 2 for pn, qn in zip(p, q, strict=True)),
        }[lc]
        H = -sum(pn * math.log(pn) for pn in p)
        assert value.item() == pytest.approx(ALPHA * compare + BETA * H, rel=1e-10)


@pytest.mark.parametrize("lc", COMPARE)
@pytest.mark.parametrize("k", CLASSES)
def test_gradients_are_the_papers(lc: str, k: int) -> None:
    """Eqs 5, 6, 14, 15 and the network's side of the variants, each as derived by hand."""
    yhat, ytil = rows(k)
    L = L_of(lc, yhat, ytil)
    to_yhat, to_ytil = torch.autograd.grad(L.sum(), (yhat, ytil))
    p, q = yhat.detach().softmax(1), ytil.detach().softmax(1)
    by_entropy = -BETA * p * (p.log() + entropy(yhat.detach()).unsqueeze(1))
    if lc == "kl":
        want_yhat = p * ((ALPHA - BETA) * p.log() - ALPHA * q.log() - L.detach().unsqueeze(1))
        want_ytil = ALPHA * (q - p)
    elif lc == "kl_pseudo_pred":
        d = q.log() - p.log()
        want_yhat = ALPHA * (p - q) + by_entropy
        want_ytil = ALPHA * q * (d - (q * d).sum(1, keepdim=True))
    else:
        d = q - p
        want_yhat = -2 * ALPHA * p * (d - (p * d).sum(1, keepdim=True)) + by_entropy
        want_ytil = 2 * ALPHA * q * (d - (q * d).sum(1, keepdim=True))
    torch.testing.assert_close(to_yhat, want_yhat, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(to_ytil, want_ytil, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(to_ytil.sum(1), torch.zeros_like(L), rtol=0, atol=1e-12)  # Eqs 12-13


@pytest.mark.parametrize("lc", COMPARE)
@pytest.mark.parametrize("k", [2, 10])
def test_gradients_are_finite_differences(lc: str, k: int) -> None:
    assert torch.autograd.gradcheck(lambda a, t: L_of(lc, a, t), rows(k))


@pytest.mark.parametrize("k", CLASSES)
def test_theorem_1_holds_at_the_optimum_and_nowhere_else(k: int) -> None:
    yhat, ytil = (z.detach() for z in rows(k))
    best = ALPHA / (ALPHA - BETA) * ytil.log_softmax(1)
    at_best = theorem1_gap(best, ytil, L_of("kl", best, ytil), ALPHA, BETA)
    torch.testing.assert_close(at_best, torch.zeros_like(at_best), rtol=0, atol=1e-12)
    assert (theorem1_gap(yhat, ytil, L_of("kl", yhat, ytil), ALPHA, BETA) > 1e-3).all()


# ---- one step ------------------------------------------------------------------------------------------------------------


def in_stage(name: str, **more) -> Trainer:
    trainer = make_trainer("r2d2", **more)
    trainer.stage_index = [s.name for s in trainer.stages].index("d2")
    trainer.enter()
    if name != "d2":
        trainer.stage_index = [s.name for s in trainer.stages].index(name)
        trainer.enter()
    return trainer


def one_step(trainer: Trainer, step: int = 0):
    batch = trainer.data.batch(trainer.streams(), step)
    trainer.train_step(batch, trainer.clock())
    return batch


@pytest.mark.parametrize(
    ("settings", "visit"),
    [
        ({}, 4000 / 512),  # .78 / alpha, whatever the batch
        ({"label_lr_reference_batch": 0}, 4000 / 48),
        ({"label_lr_reference_batch": 100, "label_lr": 10}, 10 / 100),
        ({"label_grad": "per_sample"}, 4000),  # Eq 7 verbatim
    ],
)
def test_a_visit_moves_the_rows_of_the_batch_by_lambda(settings: dict, visit: float) -> None:
    trainer = in_stage("d2", settings=settings)
    before = trainer.method.pseudo.detach().clone()
    batch = one_step(trainer)
    moved = trainer.method.pseudo.detach() - before

    phat_less_ptil = moved[batch.u_ids] / (visit * ALPHA)
    ptil = before[batch.u_ids].softmax(1)
    phat = phat_less_ptil + ptil
    assert (phat > -1e-4).all()
    torch.testing.assert_close(phat.sum(1), torch.ones(len(phat)), atol=1e-4, rtol=0)
    assert (phat_less_ptil.abs().max() > 1e-3).all()
    others = torch.ones(len(before), dtype=torch.bool)
    others[batch.u_ids] = False
    assert torch.equal(moved[others], torch.zeros_like(moved[others]))  # labelled rows among them


def test_a_visit_is_computed_from_the_same_forward_as_the_network_step() -> None:
    """Without noise in the view: ytil moves by visit * alpha * (phat - ptil), phat from before the network's step."""
    trainer = in_stage("d2", policies=("none", "none"))
    before = trainer.method.pseudo.detach().clone()
    batch = trainer.data.batch(trainer.streams(), 0)
    with torch.no_grad():
        phat = trainer.method.net(trainer.method.clean(batch.u)).softmax(1)
    ids = batch.u_ids[::2]  # as predicted, phat equals ptil and nothing moves: disturb half of them
    trainer.method.pseudo.data[ids] = before[ids] = before[ids].roll(1, 1)
    trainer.train_step(batch, trainer.clock())
    want = 4000 / 512 * ALPHA * (phat - before[batch.u_ids].softmax(1))
    torch.testing.assert_close(trainer.method.pseudo.detach()[batch.u_ids] - before[batch.u_ids], want)
    assert want[::2].abs().max() > 0.01
    assert want[1::2].abs().max() < 1e-5


def test_labelled_rows_take_part_in_the_loss_as_they_are() -> None:
    trainer = in_stage("d2", policies=("none", "none"))
    method, data = trainer.method, trainer.data
    batch = data.batch(trainer.streams(), 0)
    want = 10.0 * torch.nn.functional.one_hot(batch.y, method.task.classes)
    assert torch.equal(method.pseudo.detach()[batch.x_ids], want.float())
    assert method.pseudo.detach()[batch.x_ids].softmax(1).gather(1, batch.y[:, None]).min() > 0.9998
    losses = method.loss(batch, trainer.clock())
    yhat = torch.cat([method.net(method.clean(batch.u)), method.net(method.clean(batch.x))])
    ytil = method.pseudo[torch.cat([batch.u_ids, batch.x_ids])]
    torch.testing.assert_close(losses.total, L_of("kl", yhat, ytil).mean())  # one mean over all rows, labelled included
    losses.total.backward()
    assert method.pseudo.grad is not None
    assert not method.pseudo.grad[batch.x_ids].any()
    assert all(p.grad is not None and p.grad.any() for p in method.net.parameters())


@pytest.mark.parametrize("lc", COMPARE)
def test_row_sums_are_conserved_over_a_hundred_steps(lc: str) -> None:
    trainer = in_stage("d2", settings={"lc": lc, "ablation": "b"}, steps=400)
    method = trainer.method
    start, sums = method.pseudo.detach().clone(), method.row_sum.values.clone()
    torch.testing.assert_close(start.sum(1)[trainer.data.labelled], torch.full((16,), 10.0))
    streams = trainer.streams()
    worst = torch.zeros(())
    for step in range(100):
        trainer.step = step
        batch = trainer.data.batch(streams, step)
        worst = torch.maximum(worst, method.loss(batch, trainer.clock()).stats["row_sum_drift"])
        trainer.train_step(batch, trainer.clock())
    end = method.pseudo.detach()
    assert (end - start)[trainer.data.unlabelled].abs().max() > 0.1
    torch.testing.assert_close(end.sum(1), sums, rtol=0, atol=2e-4)
    assert worst < 2e-4
    assert torch.equal(end[trainer.data.labelled], start[trainer.data.labelled])


def test_alpha_must_exceed_beta() -> None:
    with pytest.raises(UserError, match=r"alpha=0.02 <= beta=0.03.*allow_alpha_le_beta=true"):
        make_trainer("r2d2", settings={"alpha": 0.02})
    trainer = in_stage("d2", settings={"alpha": 0.02, "allow_alpha_le_beta": True})
    losses = trainer.method.loss(trainer.data.batch(trainer.streams(), 0), trainer.clock())
    assert "theorem1_gap" not in losses.stats  # there is no such optimum
    assert torch.isfinite(losses.total)
    with pytest.raises(UserError, match="shares"):
        make_trainer("r2d2", settings={"shares": (0.5, 0.0, 0.5, 0.0)})


# ---- stages --------------------------------------------------------------------------------------------------------------


def cifar(**settings):
    """The paper's CIFAR-10 run: 46,000 unlabelled images at 384 a step are 119 steps an epoch."""
    trainer = make_trainer("r2d2", settings=settings)
    plan = Plan(30_000 + 2 * 300 * 119 + 50 * 97, labelled=4000, unlabelled=46_000, batch=(128, 384))
    return trainer.method, trainer.method.stages(plan)


PAPER = (30_000.0, 35_700.0, 35_700.0, 4_850.0)


def test_the_papers_schedule() -> None:
    method, (one, two, three) = cifar(shares=PAPER)
    assert [(s.name, s.steps) for s in (one, two, three)] == [
        ("supervised", 30_000),
        ("d2", 71_400),
        ("finetune", 4_850),
    ]
    assert [at / 119 for at in method.predict_at] == [300, 375, 450, 525]
    rate = schedule_of(two.optim["net"].schedule)
    rates = [0.12 * rate(epoch / 600) for epoch in (0, 299, 300.5, 374, 375.5, 450.5, 525.5, 599)]
    assert rates == pytest.approx([0.12, 0.12, 0.12, 0.12, 0.08, 0.04, 0.004, 0.004], rel=1e-14)
    assert [rate(p) for p in (375 / 600, 450 / 600, 525 / 600)] == [2 / 3, 1 / 3, 1 / 30]
    assert one.batch == (40, 384)
    assert two.optim["pseudo"].lr == 4000
    assert two.optim["pseudo"].momentum == two.optim["pseudo"].weight_decay == 0


@pytest.mark.parametrize(
    ("ablation", "epochs", "predictions", "end"),
    [("a", 300, 0, 1), ("b", 600, 0, 1), ("c", 600, 4, 1), ("d", 600, 0, 1 / 30), ("e", 600, 4, 1 / 30)],
)
def test_ablations(ablation: str, epochs: int, predictions: int, end: float) -> None:
    method, stages = cifar(shares=PAPER, ablation=ablation)
    assert [s.steps for s in stages] == [30_000, epochs * 119, 4_850]
    assert len(method.predict_at) == predictions
    assert schedule_of(stages[1].optim["net"].schedule)(0.999) == pytest.approx(end, rel=1e-14)


def test_other_schedules() -> None:
    for number, epochs in ((0, []), (1, [300]), (3, [300, 400, 500])):
        method, stages = cifar(shares=PAPER, repredictions=number)
        assert [at / 119 for at in method.predict_at] == epochs
        assert stages[1].optim == cifar(shares=PAPER)[1][1].optim  # one factor at a time: the drops stay
    _, stages = cifar(drops=(0.5, 0.1))
    rate = schedule_of(stages[1].optim["net"].schedule)
    assert [rate(p) for p in (0.4, 0.6, 0.9)] == [1.0, 0.5, 0.1]
    _, stages = cifar(**{"d2.schedule": "linear"})
    assert stages[1].optim["net"].schedule == "linear"
    assert sum(s.steps for s in stages) == 30_000 + 71_400 + 4_850  # shares are rounded to the run's length
    assert [s.name for s in cifar(shares=(0.0, 1.0, 1.0, 0.0))[1]] == ["d2"]


def test_labels_are_predicted_on_entry_and_at_the_repeats_parts() -> None:
    """Eval mode, images as they are, and only the unlabelled rows."""
    trainer = make_trainer("r2d2", steps=200, settings={"shares": (0.1, 0.4, 0.4, 0.1)})
    method, data, calls = trainer.method, trainer.data, []
    predict, loss = method.predict, method.loss

    def noted(seen) -> None:
        labelled = method.pseudo.detach()[data.labelled].clone()
        predict(seen)
        calls.append(trainer.step)
        assert torch.equal(method.pseudo.detach()[data.labelled], labelled)
        with torch.no_grad():
            method.net.eval()
            want = method.net(method.clean(data.gather(data.unlabelled)))
            method.net.train()
        assert torch.equal(method.pseudo.detach()[data.unlabelled], want)

    method.predict = noted
    trainer.stages = [replace(s, loss=loss if s.name == "d2" else s.loss) for s in trainer.stages]
    trainer.run()
    assert calls == [0, 80, 100, 120, 140]  # in the middle of an epoch too: four at any length


def test_a_labelled_image_among_the_unlabelled_ones_keeps_its_row() -> None:
    """In the step and when labels are predicted."""
    trainer = in_stage("d2")
    method, data = trainer.method, trainer.data
    batch = data.batch(trainer.streams(), 0)
    mixed = replace(batch, u=torch.cat([batch.x[:3], batch.u[3:]]), u_ids=torch.cat([batch.x_ids[:3], batch.u_ids[3:]]))
    before = method.pseudo.detach().clone()
    trainer.train_step(mixed, trainer.clock())
    assert torch.equal(method.pseudo.detach()[batch.x_ids], before[batch.x_ids])
    assert (method.pseudo.detach()[batch.u_ids[3:]] != before[batch.u_ids[3:]]).any(1).all()
    data.unlabelled = torch.cat([data.labelled[:5], data.unlabelled])
    with torch.no_grad():
        method.predict(data)
    assert torch.equal(method.pseudo.detach()[data.labelled], before[data.labelled])
    assert torch.equal(method.row_sum.values[data.labelled], torch.full((len(data.labelled),), 10.0))


def test_changed_labels_are_counted() -> None:
    trainer = in_stage("d2")
    method, data = trainer.method, trainer.data
    assert method.changed == 0
    flipped = data.unlabelled[: len(data.unlabelled) // 4]
    method.pseudo.data[flipped] = method.pseudo.data[flipped].roll(1, 1)
    with torch.no_grad():
        method.predict(data)
    assert method.changed.item() == pytest.approx(len(flipped) / len(data.unlabelled))
    losses = method.loss(data.batch(trainer.streams(), 0), trainer.clock())
    assert losses.stats["changed_labels"].item() == method.changed.item()
    q = method.pseudo.detach()[losses_ids(trainer)].softmax(1)
    assert losses.stats["pseudo_entropy"].item() == pytest.approx(-(q * q.log()).sum(1).mean().item(), rel=1e-4)


def losses_ids(trainer: Trainer) -> Tensor:
    return trainer.data.batch(trainer.streams(), 0).u_ids


def test_finetuning_labels() -> None:
    """y where it is known, else argmax of the optimised pseudo-logits, or of a last prediction; all images in a pass."""
    for choice in ("pseudo", "repredict"):
        trainer = in_stage("d2", settings={"stage3_labels": choice})
        method, data = trainer.method, trainer.data
        moved = method.pseudo.data[data.unlabelled].roll(1, 1)
        method.pseudo.data[data.unlabelled] = moved
        trainer.stage_index = 2
        trainer.enter()
        assert not method.pseudo.requires_grad
        kept = torch.equal(method.pseudo.detach()[data.unlabelled], moved)
        assert kept == (choice == "pseudo")
        seen = []
        for step in range(trainer.clock().epoch_steps):
            batch = data.batch(trainer.streams(), step)
            losses = method.finetune(batch, trainer.clock())
            assert len(batch.x) == 0
            assert len(batch.u) == 48
            y = torch.where(data.y[batch.u_ids] >= 0, data.y[batch.u_ids], method.pseudo[batch.u_ids].argmax(1))
            assert torch.equal(losses.unlabelled.target.argmax(1), y)
            logits = losses.unlabelled.logits
            want = -logits.log_softmax(1).gather(1, y[:, None]).mean()
            torch.testing.assert_close(losses.total, want)
            assert torch.equal(losses.unlabelled.kept, data.y[batch.u_ids] < 0)
            seen += batch.u_ids.tolist()
        assert len(set(seen)) == len(seen) >= (len(data.labelled) + len(data.unlabelled)) // 48 * 48


@pytest.mark.parametrize("chunks", [1, 4])
def test_chunks_are_normalised_apart_and_the_first_is_remembered(chunks: int) -> None:
    trainer = in_stage(
        "d2", data="digits", net="small", net_options={"width": 8}, settings={"bn_chunks": chunks}, batch=(16, 48)
    )
    method = trainer.method
    x = method.clean(trainer.data.gather(trainer.data.unlabelled[:64]))
    found = method.in_chunks(x)
    after = method.net.norm1.running_mean.clone()
    method.net.norm1.running_mean.zero_()
    parts = [method.net(part) for part in x.split(64 // chunks)]
    torch.testing.assert_close(found, torch.cat(parts))
    fresh = in_stage("d2", data="digits", net="small", net_options={"width": 8}, batch=(16, 48)).method.net
    fresh.train()
    fresh(x[: 64 // chunks])
    torch.testing.assert_close(after, fresh.norm1.running_mean)
    assert torch.equal(method.net.norm4.num_batches_tracked, torch.tensor(1 + chunks))


RESUMED = {"steps": 120, "batch": (16, 96), "net_options": {"width": 30}}  # 5 epochs of U in each half of d2


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    trainer = make_trainer("r2d2", folder=tmp_path_factory.mktemp("straight"), **RESUMED)
    trainer.run()
    trainer.save("last", 0.0)
    return trainer


@pytest.mark.parametrize("where", ["supervised", "boundary", "prediction", "after it", "finetune"])
def test_resume_at_predictions_and_stage_boundaries(where: str, uninterrupted: Trainer, tmp_path: Path) -> None:
    trainer = make_trainer("r2d2", folder=tmp_path, **RESUMED)
    first = trainer.stages[0].steps
    prediction = first + trainer.method.predict_at[1]
    assert first < prediction < trainer.total_steps - trainer.stages[2].steps
    stop = {"supervised": 7, "boundary": first, "prediction": prediction, "after it": prediction + 1, "finetune": 118}
    stop_after(trainer, stop[where])
    resumed = make_trainer("r2d2", folder=tmp_path, **RESUMED)
    resumed.load(checkpoint.load(tmp_path / "checkpoints" / "last.pt"))
    resumed.run()
    resumed.save("last", 0.0)
    one, two = (checkpoint.load(t.folder / "checkpoints" / "last.pt") for t in (uninterrupted, resumed))
    assert_same(one, two)


def test_settings_are_read_as_text() -> None:
    config = with_settings(methods.load("r2d2").config(), {"shares": "1,1,1,0", "drops": "1,0.1", "lc": "l2"}, "method")
    assert (config.shares, config.drops, config.lc) == ((1, 1, 1, 0), (1, 0.1), "l2")
