"""Predictors beside each other: what one gets right that the headline gets wrong, counted against a loop."""

import torch
from torch import nn

from halfseen.training.judge import Judge


class Fixed(nn.Module):
    """Says what it was given, whatever it sees."""

    def __init__(self, said: torch.Tensor, classes: int) -> None:
        super().__init__()
        self.logits = nn.functional.one_hot(said, classes).float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits[x[:, 0].long()]


class Two:
    def __init__(self, nets: dict[str, nn.Module]) -> None:
        self.nets = nets

    def predictors(self) -> dict[str, nn.Module]:
        return self.nets


def test_true_and_false_corrections_of_the_headline() -> None:
    generator = torch.Generator().manual_seed(0)
    y, one, two = (torch.randint(0, 3, (60,), generator=generator) for _ in range(3))
    x = torch.arange(60.0)[:, None]
    method = Two({"one": Fixed(one, 3), "two": Fixed(two, 3)})
    judge = Judge({"val": (x, y), "test": (x[:20], y[:20])}, lambda v: v, torch.device("cpu"))
    during, end = judge.during(method)["predictors"], judge.at_end(method, 3)
    for scores, part, n in ((during, "val", 60), (end, "val", 60), (end, "test", 20)):
        true = sum(one[i] != y[i] and two[i] == y[i] for i in range(n))
        false = sum(one[i] == y[i] and two[i] != y[i] for i in range(n))
        found = scores["two"][part]
        assert (found["true_corrections"], found["false_corrections"]) == (true, false)
        gain = (found["accuracy"] - scores["one"][part]["accuracy"]) * n
        assert abs(gain - (true - false)) < 1e-9
        assert "true_corrections" not in scores["one"][part]
    assert "test" not in during["two"]
