"""FlexMatch against loops over the pool: thresholds of classes, the warm-up, the memory, the mask."""

import math

import pytest
import torch

from halfseen.methods.flexmatch import NEVER, Config, FlexMatch
from tests.equations import tiny
from tests.equations.tiny import number

N_U = 32  # of tiny.task


def made(**keys):
    task = tiny.task()
    torch.manual_seed(0)
    return FlexMatch(Config(**keys), task)


def remembered(method, *counts):
    """Ids from 8 on were last confidently of class 0, 1, ..."""
    at = 8
    for c, n in enumerate(counts):
        method.last.values[at : at + n] = c
        at += n


def by_loop(last, tau, mapping, warm_up):
    n = [sum(int(v) == c for v in last) for c in range(4)]
    most = max([*n, N_U - sum(n)]) if warm_up else max(n)
    found = []
    for c in range(4):
        b = n[c] / most if most else 0.0
        found.append(tau * {"convex": b / (2 - b), "linear": b, "concave": math.log(1 + b) / math.log(2)}[mapping])
    return found


@pytest.mark.parametrize("mapping", ["convex", "linear", "concave"])
@pytest.mark.parametrize("warm_up", [True, False])
@pytest.mark.parametrize("counts", [(), (1,), (3, 2, 0, 5), (16, 4, 8, 4)])
def test_thresholds_are_those_of_a_loop(mapping, warm_up, counts):
    method = made(mapping=mapping, warm_up=warm_up)
    remembered(method, *counts)
    want = by_loop(method.last.values.tolist(), 0.95, mapping, warm_up)
    assert method.thresholds().tolist() == pytest.approx(want, abs=1e-6)


def test_the_warm_up_counts_the_never_confident():
    """Two of 32 images are confident: their class is at 2/30 of its way; without warm-up it would be at its end."""
    method = made()
    remembered(method, 2)
    b = 2 / 30
    assert method.thresholds().tolist() == pytest.approx([0.95 * b / (2 - b), 0, 0, 0])
    alone = made(warm_up=False)
    remembered(alone, 2)
    assert alone.thresholds()[0] == pytest.approx(0.95)
    remembered(method, 20)  # once the confident outnumber the others, the best class has all of tau
    assert method.thresholds()[0] == pytest.approx(0.95)


def test_loss_mask_and_memory_are_those_of_a_loop():
    method, data = made(tau=0.6), tiny.batch()
    with torch.no_grad():
        method.net.head.weight.mul_(4)
    remembered(method, 6, 9, 1, 8)  # the images of the batch among them
    before = method.last.values.tolist()
    T = by_loop(before, 0.6, "convex", True)
    losses = tiny.step(method, data)[0]
    L_u, kept, counted = 0.0, [], 0
    for u, i in enumerate(data.u_ids.tolist()):
        with torch.no_grad():
            q = method.net(data.u[u : u + 1]).softmax(1)[0]
        c = int(q.argmax())
        kept.append(bool(q[c] >= T[c]))
        if kept[-1]:
            L_u = L_u - method.net(data.u[u : u + 1] + 0.1).log_softmax(1)[0, c] / 16
        if q[c] >= 0.6:  # the fixed tau, not the class's
            before[i], counted = c, counted + 1
    assert number(losses.terms["L_u"]) == pytest.approx(number(L_u), rel=1e-5)
    assert losses.unlabelled.kept.tolist() == kept
    assert method.last.values.tolist() == before
    assert 0 < counted < sum(kept) < 16
    params = list(method.net.parameters())
    want = torch.autograd.grad(L_u, params)
    for g, w in zip(torch.autograd.grad(losses.terms["L_u"], params), want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-6)


def test_an_image_keeps_its_last_confident_class_when_it_is_unsure_again():
    method, data = made(), tiny.batch()
    assert (method.last.values == NEVER).all()
    remembered(method, 16)
    with torch.no_grad():
        method.net.head.weight.zero_()  # nothing is confident
        method.net.head.bias.zero_()
    tiny.step(method, data)
    assert (method.last[data.u_ids] == 0).all()
