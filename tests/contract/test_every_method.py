"""What every method must keep, found by listing halfseen/methods; `--method my_method.py`: what that one must."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from halfseen import methods
from halfseen.method import Method
from halfseen.training import checkpoint
from halfseen.training.trainer import part_of, phases
from tests.contract.cases import PICTURES, case, slug, source
from tests.contract.drift import FLOOR, TIMES, drifted
from tests.contract.first_steps import DTYPES, NEAR, first_steps, problems
from tests.contract.two_processes import score_of
from tests.toy import assert_same, make_trainer, stop_after

HERE = Path(__file__).parent


def test_every_term_and_every_parameter_gets_a_gradient(name: str) -> None:
    """(a) each term reaches a trained parameter within 40 steps, (b) each trained parameter is reached in its stage."""
    trainer = make_trainer(source(name), **case(name))
    for index, stage in enumerate(trainer.stages):
        trainer.stage_index, trainer.step, trainer.optimizers = index, 0, {}
        trainer.enter()
        streams = trainer.streams()
        named = {id(p): f"{path}[{i}]" for path in stage.optim for i, p in enumerate(part_of(trainer.method, path))}
        trained = [p for path in stage.optim for p in part_of(trainer.method, path)]
        unreached, silent = set(named.values()), set()
        for step in range(40):
            trainer.step = step * max(1, stage.steps // 40)
            batch, clock = trainer.data.batch(streams, step), trainer.clock()
            for losses in phases(stage.loss(batch, clock)):
                for term, value in losses.terms.items():
                    assert value.ndim == 0, f"{term} is not one number"
                    assert torch.isfinite(value), f"{term} at step {step}"
                    grads = [None] * len(trained)
                    if value.requires_grad:
                        grads = torch.autograd.grad(value, trained, retain_graph=True, allow_unused=True)
                    reached = {named[id(p)] for p, g in zip(trained, grads, strict=True) if g is not None and g.any()}
                    unreached -= reached
                    silent = silent - {term} if reached else silent | ({term} if step == 0 else set())
                trainer.update(losses, stage.optim)
            with torch.no_grad():
                trainer.method.after_step(clock)
        assert not unreached, f"stage {stage.name}: no gradient reaches {sorted(unreached)[:4]}"
        assert not silent, f"stage {stage.name}: these terms train nothing: {silent}"


def test_what_is_not_named_is_frozen(name: str) -> None:
    trainer = make_trainer(source(name), **case(name))
    for index, stage in enumerate(trainer.stages):
        trainer.stage_index = index
        trainer.prepare()
        trained = {id(p) for path in stage.optim for p in part_of(trainer.method, path)}
        for label, p in trainer.method.named_parameters():
            assert p.requires_grad == (id(p) in trained), f"stage {stage.name}: {label}"


def test_it_learns(name: str) -> None:
    """(c) finite, and far better than chance on four blobs."""
    trainer = make_trainer(source(name), **case(name, steps=200))
    trainer.run()
    for predictor, scores in trainer.judge.at_end(trainer.method, 4).items():
        assert scores["test"]["accuracy"] > 0.7, predictor
    assert all(math.isfinite(v) for row in trainer.watcher.log for v in row.values() if isinstance(v, float))


def test_docstring_names_paper_and_equations(name: str) -> None:
    """(g)"""
    doc = methods.load(source(name)).doc
    assert len(doc.splitlines()[0]) < 130
    assert re.search(r"\d{4}|baseline", doc), "no paper"
    assert "=" in doc, "no equation"
    assert "Evaluated:" in doc


def test_ids_only_index_the_memories(name: str) -> None:
    """(f) the same images under other ids: memories are permuted, and nothing else changes."""
    kept = make_trainer(source(name), **case(name, steps=30))
    order = torch.randperm(len(kept.data.x), generator=torch.Generator().manual_seed(5))
    moved = make_trainer(source(name), **case(name, steps=30), order=order)
    kept.run()
    moved.run()
    theirs = moved.method.state_dict()
    for key, value in kept.method.state_dict().items():
        other = theirs[key][order] if value.ndim and len(value) == len(order) else theirs[key]
        assert torch.equal(value, other), key


@pytest.fixture(scope="module")
def continued(tmp_path_factory: pytest.TempPathFactory, all_names: list[str]) -> Path:
    """Every method stopped mid-epoch (and mid-stage) after 23 steps and continued in one new process."""
    folder = tmp_path_factory.mktemp("continued")
    for name in all_names:
        trainer = make_trainer(source(name), **case(name), folder=folder / slug(name))
        stop_after(trainer, 23)
        trainer.save("last", 0.0)
    script = "from tests.contract.continue_all import main; main()"
    subprocess.run(
        [sys.executable, "-c", script, str(folder), *all_names], check=True, cwd=HERE.parent.parent, timeout=300
    )
    return folder


def test_resume_is_exact(name: str, continued: Path) -> None:
    """(d) saved, loaded in a new process, continued == uninterrupted, bit for bit."""
    straight = make_trainer(source(name), **case(name), folder=continued / f"{slug(name)}-straight")
    straight.run()
    straight.save("last", 0.0)
    one = checkpoint.load(continued / f"{slug(name)}-straight" / "checkpoints" / "last.pt")
    two = checkpoint.load(continued / slug(name) / "checkpoints" / "last.pt")
    assert_same(one, two)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory, all_names: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tests.contract.two_processes", str(folder), *all_names]
    subprocess.run(command, check=True, cwd=HERE.parent.parent, timeout=300)
    return folder


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_first_step_in_two_processes(name: str, problem: str, dtype: torch.dtype, two_processes: Path) -> None:
    """(e) in every stage, with dropout, input noise and batch norm: equal but for how sums are rounded."""
    one = first_steps(name, problems(name)[problem], dtype)
    files = [two_processes / f"{slug(name)}-{problem}-{dtype}-{rank}.pt" for rank in (0, 1)]
    shares = [torch.load(file, weights_only=True) for file in files]
    assert one.keys() == shares[0].keys()
    for key, value in one.items():
        assert torch.equal(shares[0][key], shares[1][key]), f"the processes differ in {key}"
        if not value.is_floating_point():
            assert torch.equal(shares[0][key], value), key
        elif value.numel():
            size = float(value.abs().max())
            near = 1e-12 * size + 1e-15 if dtype == torch.float64 else NEAR[problem] * max(1.0, size)
            apart = float((shares[0][key] - value).abs().max())
            assert apart <= near, f"{key}: {apart:.1e} of {size:.1e}"


def test_the_drift_of_two_processes_is_that_of_a_reordered_sum(name: str, two_processes: Path) -> None:
    """(e) after 50 steps: no further from one process than that is from itself with its hidden units in another order."""
    one, reordered = drifted(name), drifted(name, reorder=True)
    two, other = (torch.load(two_processes / f"{slug(name)}-drift-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(two, other)
    rounding = float((one - reordered).abs().max())
    assert float((one - two).abs().max()) <= TIMES * max(rounding, FLOOR), f"reordered: {rounding:.1e}"


def test_two_processes_are_one_on_pictures(two_processes: Path, all_names: list[str]) -> None:
    """Random views, and batch norm over the rows of both."""
    if "fixmatch" not in all_names:
        pytest.skip("it is FixMatch's: --method names another one")
    single = make_trainer("fixmatch", **PICTURES)
    single.run()
    states = [torch.load(two_processes / f"pictures-{rank}.pt", weights_only=True) for rank in (0, 1)]
    single.judge.watches = ["test"]
    one = {**single.method.state_dict(), "scored": score_of(single.judge.during(single.method))}
    for key, value in one.items():
        assert torch.equal(states[0][key], states[1][key]), f"the processes differ in {key}"
        torch.testing.assert_close(states[0][key], value, rtol=2e-3, atol=2e-4, msg=lambda m, k=key: f"{k}: {m}")


def test_a_method_has_no_save_or_load_code(all_names: list[str]) -> None:
    for name in all_names:
        assert "state_dict" not in methods.load(source(name)).source.read_text(), name
        assert issubclass(methods.load(source(name)).method, Method)
