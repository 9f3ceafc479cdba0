"""Ramps against numbers worked out by hand from their formulas."""

import math

import pytest

from halfseen.parts import ramps


def test_exp_rampup():
    assert ramps.exp_rampup(0, 80) == pytest.approx(math.exp(-5))
    assert ramps.exp_rampup(40, 80) == pytest.approx(math.exp(-1.25))
    assert ramps.exp_rampup(80, 80) == ramps.exp_rampup(200, 80) == 1
    assert ramps.exp_rampup(0, 0) == ramps.exp_rampup(7, 0) == 1


def test_linear_rampup():
    assert [ramps.linear_rampup(e, 4) for e in (0, 1, 2.5, 4, 9)] == [0, 0.25, 0.625, 1, 1]
    assert ramps.linear_rampup(0, 0) == 1


def test_cosines():
    assert ramps.cosine(0, 300) == 1
    assert ramps.cosine(150, 300) == pytest.approx(0.5)
    assert ramps.cosine(300, 350) == pytest.approx((1 + math.cos(6 * math.pi / 7)) / 2)
    assert ramps.cosine_from_one(1, 300) == 1
    assert ramps.cosine_from_one(151, 300) == pytest.approx(0.5)
    assert ramps.cosine_7_16(0, 2**20) == 1
    assert ramps.cosine_7_16(2**20, 2**20) == pytest.approx(0.19509032)


def test_temporal_ensembling_ramps():
    assert ramps.te_rampdown(249, 300) == ramps.te_rampdown(250, 300) == 1
    assert ramps.te_rampdown(270, 300) == pytest.approx(math.exp(-2))  # d = 20: (20/2)^2/50
    assert ramps.te_rampdown(300, 300) == pytest.approx(math.exp(-12.5))
    assert ramps.te_rate(40, 300) == pytest.approx(math.exp(-1.25))
    assert ramps.te_rate(270, 300) == pytest.approx(math.exp(-2))
    assert ramps.te_beta1(0, 300) == pytest.approx(0.9)
    assert ramps.te_beta1(270, 300) == pytest.approx(0.5 + 0.4 * math.exp(-2))


def test_warm_decay():
    assert [ramps.warm_decay(t, 0.75) for t in (1, 2, 3, 4)] == pytest.approx([1 / 2, 2 / 3, 0.75, 0.75])
    with pytest.raises(ValueError, match="counted from 1"):
        ramps.warm_decay(0, 0.9)
