"""A fitted probe as a network: the same probabilities, also after its tensors were stored."""

import numpy as np
import pytest
import torch

from halfseen.probes import PROBES
from tests.probes.blobs import blobs


@pytest.mark.parametrize("name", PROBES)
def test_the_network_says_what_the_probe_says(name: str) -> None:
    b = blobs(each=4)
    known = b.y != 1  # a class without a label
    kind = PROBES[name]
    fitted = kind.fit(b.labelled[known], b.y[known], b.pool, classes=5)
    net = kind.head(kind.config(), {k: v.clone() for k, v in fitted.tensors().items()})
    others = b.pool + 0.1 * np.random.default_rng(0).normal(size=b.pool.shape).astype(np.float32)
    for x in (b.pool, others):
        shares = net(torch.from_numpy(x)).softmax(1).numpy()
        np.testing.assert_allclose(shares, fitted.predict_proba(x), atol=1e-2)  # nodes are kept in half precision
        assert (shares[:, [1, 4]] < 1e-6).all()
    again = kind.head(kind.config(), net.state_dict())
    assert torch.equal(again(torch.from_numpy(others)), net(torch.from_numpy(others)))


def test_a_standardised_probe_is_one_as_a_network_too() -> None:
    b = blobs(each=4)
    kind = PROBES["probe"]
    cfg = kind.config(scale="standardised", C=1.0)
    fitted = kind.fit(b.labelled, b.y, b.pool, cfg)
    shares = kind.head(cfg, fitted.tensors())(torch.from_numpy(b.pool)).softmax(1).numpy()
    np.testing.assert_allclose(shares, fitted.predict_proba(b.pool), atol=1e-4)
