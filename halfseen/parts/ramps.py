"""Weights, rates and decays that change during training, as pure functions of floats.

e is the epoch, fractional if the caller wishes; E the number of epochs; T the length of a ramp; t a step.
"""

import math


def exp_rampup(e: float, T: float) -> float:
    """exp(-5 (1 - min(e,T)/T)^2): .0067 at the start, 1 from T on; 1 throughout if T = 0."""
    if T <= 0:
        return 1.0
    return math.exp(-5 * (1 - min(max(e, 0.0), T) / T) ** 2)


def linear_rampup(e: float, T: float) -> float:
    """e/T, from 0 at the start to 1 from T on; 1 throughout if T = 0."""
    return min(max(e, 0.0), T) / T if T > 0 else 1.0


def cosine(e: float, T: float) -> float:
    """(1 + cos(pi e/T))/2. Mean Teacher takes a T beyond the end of training, so that its rate does not reach 0."""
    return (1 + math.cos(math.pi * e / T)) / 2


def cosine_from_one(e: float, E: float) -> float:
    """(1 + cos((e-1) pi/E))/2: Dual Student counts its epochs from 1."""
    return cosine(e - 1, E)


def cosine_7_16(t: float, T: float) -> float:
    """cos(7 pi t/(16 T)): the FixMatch family; ends at .195."""
    return math.cos(7 * math.pi * t / (16 * T))


def te_rampdown(e: float, E: float, last: float = 50) -> float:
    """exp(-(d/2)^2/last) with d = e - (E - last) in the last epochs, 1 before them (Temporal Ensembling)."""
    d = max(e - (E - last), 0.0)
    return math.exp(-((d / 2) ** 2) / last)


def te_rate(e: float, E: float, rampup: float = 80, rampdown: float = 50) -> float:
    """Factor of the learning rate of the Temporal Ensembling family."""
    return exp_rampup(e, rampup) * te_rampdown(e, E, rampdown)


def te_beta1(e: float, E: float, rampdown: float = 50, start: float = 0.9, end: float = 0.5) -> float:
    """Adam's beta1 of the same family: from `start` towards `end` as the rate ramps down."""
    down = te_rampdown(e, E, rampdown)
    return down * start + (1 - down) * end


def warm_decay(t: int, d: float) -> float:
    """Decay of an average of weights after its t-th update (t = 1 first): min(1 - 1/(t+1), d)."""
    if t < 1:
        raise ValueError(f"t={t}: the updates of an average are counted from 1")
    return min(1 - 1 / (t + 1), d)
