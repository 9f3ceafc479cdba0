"""V-PET: votes counted by hand, the student's loss by a loop, tunings that begin as the head alone, blocks of features."""

import math

import pytest
import torch

from halfseen.errors import UserError
from halfseen.method import Clock, Plan
from halfseen.methods.vpet import VPET, Config
from halfseen.parts.tunings import Ensemble, Tuned, blocks_of
from tests.equations.rounds import Pool
from tests.equations.tiny import D, Tiny, batch, step, task

K = 4


def made(**settings) -> VPET:
    return VPET(Config(**settings), task())


def voted(method: VPET) -> torch.Tensor:
    """[M, 40, K]: what the members say; then they vote."""
    with torch.no_grad():
        said = torch.stack([member(Pool().x).softmax(1) for member in method.ensemble.members])
    method.vote(Pool())
    return said


def test_votes_are_counted() -> None:
    method = made()
    said = voted(method)
    assert len(said) == 3
    for i in range(8, 40):
        counts = [sum(int(p[i].argmax()) == k for p in said) / 3 for k in range(K)]
        assert method.q[torch.tensor(i)].tolist() == pytest.approx(counts)
    assert (method.q.values[:8] == 0).all()  # labelled images have their labels
    shares = method.q.values[8:].amax(1)
    assert shares.min() < 0.9  # they do not always agree
    assert shares.max() > 0.9


def test_votes_of_probabilities_are_their_mean() -> None:
    method = made(votes="probabilities")
    said = voted(method)
    torch.testing.assert_close(method.q.values[8:], said.mean(0)[8:].float())


def test_aligned_members_vote_after_their_own_alignment() -> None:
    method = made(align=True, align_to="uniform")
    said = voted(method)[:, 8:]
    want = torch.zeros(32, K)
    for p in said:
        ratio = p / K / p.mean(0)
        want += torch.nn.functional.one_hot((ratio / ratio.sum(1, keepdim=True)).argmax(1), K) / 3
    torch.testing.assert_close(method.q.values[8:], want)
    assert not torch.equal(want, made_votes())


def made_votes() -> torch.Tensor:
    method = made()
    voted(method)
    return method.q.values[8:]


def test_the_student_is_taught_the_votes() -> None:
    method = made(lambda_u=0.5)
    voted(method)
    b = batch(U=16)
    losses = step(method, b)[0]
    L_x = sum(-method.net(b.x[i : i + 1]).log_softmax(1)[0, b.y[i]] for i in range(8)) / 8
    L_u = 0.0
    for i, image in enumerate(b.u_ids.tolist()):
        log_p = method.net(b.u[i : i + 1]).log_softmax(1)[0]
        L_u = L_u - sum(method.q.values[image, k].item() * log_p[k] for k in range(K)) / 16
    assert losses.terms["L_x"].item() == pytest.approx(L_x.item())
    assert losses.terms["L_u"].item() == pytest.approx(0.5 * L_u.item(), rel=1e-5)
    assert losses.unlabelled.kept.all()
    assert losses.stats["unity"].item() == pytest.approx(method.q[b.u_ids].amax(1).mean().item())


def test_members_learn_the_labels_each_for_itself() -> None:
    method, b = made(), batch()
    terms = method.members(b, Clock(0, 100, 10)).terms
    for m, member in enumerate(method.ensemble.members):
        want = sum(-member(b.x[i : i + 1]).log_softmax(1)[0, b.y[i]] for i in range(8)) / 8
        assert terms[f"{m + 1}/CE"].item() == pytest.approx(want.item())
        others = [p for n, other in enumerate(method.ensemble.members) if n != m for p in other.parameters()]
        grads = torch.autograd.grad(terms[f"{m + 1}/CE"], others, retain_graph=True, allow_unused=True)
        assert all(g is None for g in grads)


def test_a_tuning_begins_as_the_head_alone_and_then_is_its_formula() -> None:
    torch.manual_seed(3)
    x = torch.randn(5, D, dtype=torch.float64)
    for tuning in ("head", "low_rank", "adapter"):
        member = Tuned(lambda: Tiny(K), tuning, 2)
        torch.testing.assert_close(member(x), member.net(x))
        if member.up is None:
            continue
        torch.nn.init.normal_(member.up.weight)
        h = member.net.features(x)
        for row in range(5):
            inner = [sum(v * f for v, f in zip(V, h[row], strict=True)) for V in member.down.weight]
            if tuning == "adapter":
                inner = [max(a + b, torch.zeros(())) for a, b in zip(inner, member.down.bias, strict=True)]
            changed = h[row] + sum(member.up.weight[:, r] * inner[r] for r in range(2))
            want = member.net.head.weight @ changed + member.net.head.bias
            torch.testing.assert_close(member(x)[row], want)


def test_a_low_rank_change_is_a_change_of_the_head() -> None:
    """z = (W + W U V) h + b: linear in h, where the bottleneck is not."""
    torch.manual_seed(0)
    member = Tuned(lambda: Tiny(K), "low_rank", 2)
    torch.nn.init.normal_(member.up.weight)
    W = member.net.head.weight + member.net.head.weight @ member.up.weight @ member.down.weight
    x = torch.randn(4, D, dtype=torch.float64)
    torch.testing.assert_close(member(x), member.net.features(x) @ W.T + member.net.head.bias)


def test_blocks_see_their_own_features() -> None:
    method = made(blocks=3)
    assert len(method.ensemble.members) == 9
    x = torch.randn(2, D, dtype=torch.float64)
    for m, member in enumerate(method.ensemble.members):
        block = m // 3
        changed = x.clone()
        changed[:, [i for i in range(D) if i // 2 != block]] += 5.0
        torch.testing.assert_close(member(x), member(changed))
        changed[:, 2 * block] += 1.0
        assert not torch.allclose(member(x), member(changed))


def test_the_ensemble_is_the_mean_of_probabilities() -> None:
    members = [Tuned(lambda: Tiny(K), "head", 1) for _ in range(3)]
    x = torch.randn(6, D, dtype=torch.float64)
    p = sum(member(x).softmax(1) for member in members) / 3
    torch.testing.assert_close(Ensemble(members)(x).softmax(1), p.float())
    assert Ensemble(members)(x).exp().sum(1).tolist() == pytest.approx([1.0] * 6)


def test_the_plan() -> None:
    stages = made(first=0.25).stages(Plan(100, 8, 32, (4, 4)))
    assert [(s.name, s.steps, list(s.optim)) for s in stages] == [
        ("members", 25, ["ensemble"]),
        ("student", 75, ["net"]),
    ]
    assert math.isclose(sum(s.steps for s in stages), 100)


@pytest.mark.parametrize("settings", [{"tunings": ()}, {"rank": 0}, {"blocks": 0}, {"first": 0.0}, {"first": 1.0}])
def test_settings_that_cannot_be(settings: dict) -> None:
    with pytest.raises(UserError, match="vpet needs"):
        made(**settings)


@pytest.mark.parametrize(("shape", "said"), [((6,), "rows of 6 numbers"), ((3, 8, 8), "pictures")])
def test_blocks_that_do_not_divide_the_features_are_refused(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        blocks_of(shape, 4)
