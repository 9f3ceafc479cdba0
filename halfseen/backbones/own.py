"""FILE.py:factory: a network of the user's own. factory() returns a module from pixels [n, 3, s, s] in [0, 1] to [n, d].

The module normalises by itself. Its attributes `side` (224), `least` (1: the smallest side) and `layers` (a function that
returns its parts from the input to the output) are asked for where it has them. A Backbone is taken as it is.
"""

from pathlib import Path

from torch import Tensor, nn

from halfseen.backbones.backbone import Backbone, digest, first_line, tried
from halfseen.errors import UserError
from halfseen.machine.files import callable_in

SIDE = 224


class Own(Backbone):
    def __init__(self, name: str, net: nn.Module) -> None:
        super().__init__()
        self.name, self.net = name, net
        self.side, self.least = int(getattr(net, "side", SIDE)), int(getattr(net, "least", 1))
        self.key = digest(Path(name.rpartition(":")[0]).expanduser(), name.rpartition(":")[2], *contents(net))
        self.eval()
        self.dim = tried(self)

    def pooled(self, x: Tensor) -> Tensor:
        h: Tensor = self.net(x)
        return h

    def layers(self) -> list[nn.Module]:
        asked = getattr(self.net, "layers", None)
        if callable(asked) and not isinstance(asked, nn.Module):
            return list(asked())
        return [self.net]


def contents(net: nn.Module) -> list[bytes]:
    """The weights in order."""
    return [
        key.encode() + t.detach().cpu().contiguous().view(-1).numpy().tobytes() for key, t in net.state_dict().items()
    ]


def load_own(name: str) -> Backbone:
    factory = callable_in(name, "backbone")
    try:
        net = factory()
    except Exception as error:
        raise UserError(f"the backbone {name} cannot be made ({first_line(error)}): call it as factory()") from error
    file = Path(name.rpartition(":")[0]).expanduser()
    kept = {file.name: file.read_bytes()}
    if isinstance(net, Backbone):
        net.name, net.kept = name, kept
        return net.eval()
    if not isinstance(net, nn.Module):
        raise UserError(f"the backbone {name} is a {type(net).__name__}: the factory must return a torch.nn.Module")
    own = Own(name, net)
    own.kept = kept
    return own
