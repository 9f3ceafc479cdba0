"""`pytest tests/contract --method my_method.py` holds a file from anywhere to the contract, and finds what breaks it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MINE = '''"""Mine: a test of the contract suite, 2026, a baseline.

    L = H(y, p) + w H(argmax q, p) where max q >= tau

Evaluated: the network.
"""
from dataclasses import dataclass

from halfseen.method import Losses, Method, Unlabelled
from halfseen.optim import Optim
from halfseen.parts.losses import cross_entropy


@dataclass(frozen=True)
class Config:
    tau: float = 0.99  # more than a network reaches within the suite's 40 steps
    optim: Optim = Optim(lr=0.03)


class Mine(Method[Config]):
    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.net = task.make_net()

    def loss(self, batch, clock):
        z = self.net(self.weak(batch.u))
        q, pseudo = z.detach().softmax(1).max(1)
        kept = q >= self.cfg.tau
        L_s = cross_entropy(self.net(self.weak(batch.x)), batch.y).mean()
        L_u = (kept * cross_entropy(z, pseudo)).mean()
        return Losses({"L_s": L_s, "L_u": L_u}, {}, Unlabelled(z, z.detach().softmax(1), kept))

    def predictors(self):
        return {"net": self.net}
'''


def suite(method: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "tests/contract", "-p", "no:cacheprovider", "--method", method, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_a_file_that_keeps_the_contract_passes(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    done = suite(f"{tmp_path / 'mine.py'}:tau=0.5")
    assert done.returncode == 0, done.stdout
    assert "12 passed" in done.stdout  # of one method, which has no aligned targets
    assert "1 skipped" in done.stdout  # what is FixMatch's alone


def test_a_term_that_trains_nothing_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE.replace('"L_u": L_u}', '"L_u": L_u.detach()}'))
    done = suite(f"{tmp_path / 'mine.py'}:tau=0.5", "-k", "gradient")
    assert done.returncode == 1, done.stdout
    assert "these terms train nothing: {'L_u'}" in done.stdout
