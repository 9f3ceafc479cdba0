"""How far 50 steps lead apart what differs by rounding only: in two processes, or with hidden units in another order."""

import torch

from halfseen.nets.mlp import MLP
from tests.contract.cases import case, source
from tests.toy import make_trainer

STEPS = 50
TIMES = 10
FLOOR = 1e-7  # of a probability: what float32 holds
# what no last digit can turn: it may turn a vote, or put a number on the other side of an adapter's bend
SMOOTH: dict[str, dict[str, object]] = {"vpet": {"votes": "probabilities", "tunings": ("head", "low_rank")}}


class Smooth(MLP):
    """Without a kink: a number on the other side of one for its last digit would turn a whole gradient."""

    def __init__(self, classes: int, shape: tuple[int, ...], **options: object) -> None:
        super().__init__(classes, shape, **options)  # type: ignore[arg-type]
        for index, module in enumerate(self.body):
            if isinstance(module, torch.nn.ReLU):
                self.body[index] = torch.nn.SiLU()


class Reordered(Smooth):
    """The same function of the same parameters, whose second layer adds up in another order."""

    def __init__(self, classes: int, shape: tuple[int, ...], **options: object) -> None:
        super().__init__(classes, shape, **options)
        first, second = (m for m in list(self.body)[:3] if isinstance(m, torch.nn.Linear))
        order = torch.arange(first.out_features).flip(0)
        with torch.no_grad():
            first.weight.copy_(first.weight[order])
            first.bias.copy_(first.bias[order])
            second.weight.copy_(second.weight[:, order])


def drifted(name: str, reorder: bool = False, rank: int = 0, world: int = 1) -> torch.Tensor:
    """[predictors, n, K] probabilities of test images after 50 steps; on vectors, without dropout or batch norm."""
    given = case(name, steps=STEPS)
    given["settings"] = {**given["settings"], **SMOOTH.get(name, {})}
    net = Reordered if reorder else Smooth
    trainer = make_trainer(source(name), **{**given, "net": net}, rank=rank, world=world)
    trainer.run()
    x = trainer.judge.parts["test"][0]
    return torch.stack([trainer.judge.logits(net, x).softmax(1) for net in trainer.method.predictors().values()])
