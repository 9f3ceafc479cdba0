"""The film of CCN on two spirals, in a quick version: frames, their numbers and the file."""

import json
import re
from pathlib import Path

import pytest

from halfseen.errors import UserError
from halfseen.theory.spirals import film


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("spirals") / "run"
    film(out, shown=(0, 2, 8), side=15)
    return out


def test_frames_are_of_the_epochs_asked_for_and_follow_training(run: Path) -> None:
    frames = json.loads((run / "frames.json").read_text())
    assert [f["epoch"] for f in frames] == [0, 2, 8]
    last = json.loads((run / "metrics.json").read_text())["last"]
    for predictor in ("net1", "ccn"):
        assert frames[-1]["accuracy"][predictor] == last[predictor]["test"]["accuracy"]
        assert frames[-1]["accuracy"][predictor] > frames[0]["accuracy"][predictor]


def test_the_run_is_the_papers_toy(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert (config["facts"]["labelled"], config["facts"]["unlabelled"], config["batch"]) == (40, 1960, [40, 200])
    method = config["method"]
    assert [method[k] for k in ("use_ml", "use_vat", "use_ccn", "eps", "w_max")] == [False, True, True, 0.1, 30.0]
    assert config["net"] == "mlp"
    assert config["steps"] == 8 * (1960 // 200)


def test_the_figure_is_one_file_with_both_rows(run: Path) -> None:
    page = (run / "regions.html").read_text(encoding="utf-8")
    for title in ("Net 1, epoch 0", "CCN, epoch 0", "Net 1, epoch 8", "CCN, epoch 8"):
        assert title in page
    assert page.split("Plotly.newPlot(")[-1].count('"type":"heatmap"') == 2 * 3
    assert not re.search(r'src="http', page)  # plotly itself is in the file


def test_epochs_out_of_order_are_a_sentence(tmp_path: Path) -> None:
    for shown in ((), (5, 2), (0,)):
        with pytest.raises(UserError, match="rising order"):
            film(tmp_path / "x", shown=shown)
    assert not (tmp_path / "x").exists()
