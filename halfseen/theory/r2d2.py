"""The two theorems of R2-D2 in numbers: the closed form of a network's optimum, and a network that went there.

For fixed pseudo labels ptil, L = alpha KL(phat || ptil) + beta H(phat) with alpha > beta has one optimum over phat,
    phat_n = ptil_n^e / sum_k ptil_k^e,   e = alpha/(alpha - beta),     L = -(alpha - beta) log sum_k ptil_k^e
where
Theorem 1   ptil_n = exp(-L/alpha) phat_n^(1 - beta/alpha)      the paper states it for the largest; it holds for every n
Theorem 2   max ptil <= max phat                                the network sharpens its labels, since e >= 1

The theorems are about the network's optimum. Were ptil at its optimum too, ptil = phat, then (alpha - beta) log phat_n -
alpha log phat_n = L would make phat the same for all classes that it holds possible.

A small network learns random labels by gradient descent, in float64. Its last layer starts at 0: from a one-hot phat, where
the gradient is 0 as well, it would not come back.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from halfseen.errors import UserError
from halfseen.methods.r2d2 import theorem1_gap
from halfseen.parts.losses import entropy, kl

CASES = ((3, 0.1, 0.03), (10, 0.1, 0.0), (10, 0.1, 0.03), (10, 0.1, 0.05), (10, 0.5, 0.03))  # K, alpha, beta


@dataclass(frozen=True)
class Row:
    """One network that was trained to its optimum; the gaps are 0 where theory holds and the network has arrived."""

    K: int
    alpha: float
    beta: float
    exponent: float  # e
    gradient: float  # largest |d L/d yhat_n| at the end: how far the network is from its optimum
    phat_gap: float  # largest |phat - optimum|
    L_gap: float  # largest |L - optimum's|
    theorem1_gap: float  # largest |ptil_n - exp(-L/alpha) phat_n^(1 - beta/alpha)|, over all images and all classes
    theorem1_gap_before: float  # of the network as it began
    theorem2: float  # smallest max phat - max ptil: not negative


def optimum(ytil: Tensor, alpha: float, beta: float) -> tuple[Tensor, Tensor]:
    """phat [n, K] at the network's optimum for pseudo-logits ytil [n, K], and L [n] there."""
    if not 0 <= beta < alpha:
        raise UserError(
            f"alpha={alpha:g}, beta={beta:g}: the optimum needs alpha > beta >= 0; R2-D2's are 0.1 and 0.03"
        )
    powers = alpha / (alpha - beta) * ytil.log_softmax(1)
    return powers.softmax(1), -(alpha - beta) * powers.logsumexp(1)


def random_labels(K: int, n: int = 12, seed: int = 0) -> Tensor:
    """Pseudo-logits ytil [n, K], from nearly uniform to moderately sure."""
    random = torch.Generator().manual_seed(seed)
    spread = torch.linspace(0.1, 1.2, n, dtype=torch.float64)
    return spread.unsqueeze(1) * torch.randn(n, K, generator=random, dtype=torch.float64)


def converged(ytil: Tensor, alpha: float, beta: float, steps: int = 1500, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits [n, K] of a small network before and after gradient descent on L, one random input for each label."""
    n, K = ytil.shape
    random = torch.Generator().manual_seed(seed)
    x, W, V = (torch.randn(*s, generator=random, dtype=torch.float64) for s in ((n, 24), (24, 64), (64, K)))
    hidden, head = nn.Parameter(W / 24**0.5), nn.Parameter(torch.zeros_like(V))
    optimizer = torch.optim.SGD([hidden, head], lr=0.15, momentum=0.9, nesterov=True)

    def yhat() -> Tensor:
        return torch.tanh(x @ hidden) @ head

    before = yhat().detach()
    for _ in range(steps):
        optimizer.zero_grad()
        L = loss(yhat(), ytil, alpha, beta).mean() / (alpha - beta)  # in its own scale, so that one rate fits all
        L.backward()  # type: ignore[no-untyped-call]  # torch does not annotate Tensor.backward
        optimizer.step()
    return before, yhat().detach()


def loss(yhat: Tensor, ytil: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * kl(yhat, ytil) + beta * entropy(yhat)


def row(K: int, alpha: float, beta: float, steps: int = 1500) -> Row:
    ytil = random_labels(K)
    best, L_best = optimum(ytil, alpha, beta)
    before, yhat = converged(ytil, alpha, beta, steps)
    L, phat, ptil = loss(yhat, ytil, alpha, beta), yhat.softmax(1), ytil.softmax(1)
    eq5 = phat * ((alpha - beta) * phat.log() - alpha * ptil.log() - L.unsqueeze(1))
    L_before = loss(before, ytil, alpha, beta)

    def largest(values: Tensor) -> float:
        return float(values.abs().max())

    return Row(
        K=K,
        alpha=alpha,
        beta=beta,
        exponent=alpha / (alpha - beta),
        gradient=largest(eq5),
        phat_gap=largest(phat - best),
        L_gap=largest(L - L_best),
        theorem1_gap=largest(theorem1_gap(yhat, ytil, L, alpha, beta)),
        theorem1_gap_before=largest(theorem1_gap(before, ytil, L_before, alpha, beta)),
        theorem2=float((phat.amax(1) - ptil.amax(1)).min()),
    )


def table(steps: int = 1500) -> list[Row]:
    """Theorems 1 and 2 for some K, alpha and beta."""
    return [row(K, alpha, beta, steps) for K, alpha, beta in CASES]


def plot(path: Path | str, K: int = 10, steps: int = 1500) -> Path:
    """One HTML page without network: what each network says of its labels against the labels, and the gap of Theorem 1."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    titles = (f"Largest probability at the optimum (K={K})", "Theorem 1, class by class")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles)
    ytil = random_labels(K, n=40)
    ptil = ytil.softmax(1)
    for beta in (0.0, 0.03, 0.05):
        alpha = 0.1
        _, yhat = converged(ytil, alpha, beta, steps)
        name = f"beta = {beta:g}, e = {alpha / (alpha - beta):.2f}"
        best, _ = optimum(ytil, alpha, beta)
        order = ptil.amax(1).argsort()
        formula = go.Scatter(x=ptil.amax(1)[order].tolist(), y=best.amax(1)[order].tolist(), mode="lines", name=name)
        network = {"mode": "markers", "name": f"network, beta = {beta:g}"}
        figure.add_trace(formula, row=1, col=1)
        reached = yhat.softmax(1).amax(1)
        figure.add_trace(go.Scatter(x=ptil.amax(1).tolist(), y=reached.tolist(), **network), row=1, col=1)
        L = loss(yhat, ytil, alpha, beta).unsqueeze(1)
        right = (-L / alpha + (1 - beta / alpha) * yhat.log_softmax(1)).exp()
        points = go.Scatter(x=ptil.flatten().tolist(), y=right.flatten().tolist(), **network, showlegend=False)
        figure.add_trace(points, row=1, col=2)
    for column, end in ((1, float(ptil.max())), (2, float(ptil.max()))):
        same = go.Scatter(x=[0, end], y=[0, end], mode="lines", line={"dash": "dot", "color": "#333333"}, name="equal")
        figure.add_trace(same, row=1, col=column)
    figure.update_xaxes(title="max ptil", row=1, col=1)
    figure.update_yaxes(title="max phat", row=1, col=1)
    figure.update_xaxes(title="ptil", row=1, col=2)
    figure.update_yaxes(title="exp(-L/alpha) phat^(1 - beta/alpha)", row=1, col=2)
    figure.write_html(str(path), include_plotlyjs=True)
    return Path(path)
