"""The page of a run: complete, self-contained, escaped, and true to metrics.json."""

import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from halfseen.commands.train import train
from halfseen.data import ImageSet, open_data
from halfseen.errors import Stopped
from halfseen.report import figures, tables
from halfseen.report.page import write_page, write_run_page
from halfseen.report.pictures import png
from halfseen.report.record import Predictions, read_record
from halfseen.report.tables import Comparison, Contender
from halfseen.run.folder import Folder
from halfseen.run.session import Session

os.environ.setdefault("OMP_NUM_THREADS", "1")
SHORT = {"steps": 12, "batch": 8, "unlabelled_batch": 16, "log_every": 4, "threads": 1, "quiet": True}


class Reader(HTMLParser):
    """Collects what a browser would fetch, the ids, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.ids, self.tags, self.words, self.silent = [], set(), [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        d = dict(attrs)
        self.tags.append(tag)
        self.fetched += [d[k] for k in ("src", "href", "srcset", "data", "poster", "action") if d.get(k)]
        self.ids |= {d["id"]} if "id" in d else set()
        self.silent += tag in ("script", "style")

    def handle_endtag(self, tag):
        self.silent -= tag in ("script", "style")

    def handle_data(self, data):
        if not self.silent:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read_page(folder):
    return Reader((folder / "report.html").read_text())


@pytest.fixture(scope="module")
def digits():
    return open_data("digits", progress=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits):
    """A short run with a validation part and a test curve: everything that a page can show."""
    out = tmp_path_factory.mktemp("runs") / "run"
    result = train(
        "digits", method="fixmatch", labels_per_class=12, out=out, eval_every=4, test_curve=True,
        overrides={"method.tau": 0.2}, **SHORT,
    )  # fmt: skip
    return result.folder


def test_training_writes_a_page_with_every_section_and_figure(run):
    page = read_page(run)
    sections = {"scores", "training", "taught", "mistakes", "pictures", "made"}
    drawn = {"losses", "accuracy", "teaching", "predicted", "confidence", "confusion", "classes", "reliability"}
    galleries = {"labelled", "unsure-unlabelled", "unsure-test", "mistakes"}
    assert sections | {f"figure-{d}" for d in drawn} | galleries <= page.ids
    assert page.tags.count("img") >= 60 + 24 + 24
    assert "figure-other" not in page.ids  # FixMatch logs nothing but losses and shares
    assert "figure-plane" not in page.ids


def test_page_fetches_nothing(run):
    page = read_page(run)
    assert page.fetched
    assert all(url.startswith("data:") for url in page.fetched)
    style = re.search(r"<style>(.*?)</style>", (run / "report.html").read_text(), re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_page_is_small_and_runs_nothing(run):
    text = (run / "report.html").read_text()
    assert text.count('<svg viewBox="0 0 440 ') >= 8
    assert "<script" not in text
    pictures = sum(map(len, re.findall(r'src="(data:image/png[^"]*)"', text)))
    assert 0 < pictures < len(text)
    assert len(text) - pictures < 1_500_000


def test_numbers_are_those_of_metrics_json(run):
    m = json.loads((run / "metrics.json").read_text())
    text = read_page(run).text
    head = m["headline"]["test"]
    assert f"{100 * head['accuracy']:.2f}% of 359 test images recognised" in text
    assert f"95% interval {100 * head['interval'][0]:.2f}% to {100 * head['interval'][1]:.2f}%" in text
    rows = [("last step", n, s) for n, s in m["last"].items()]
    rows.append((f"best on validation (step {m['best']['step']:,})", m["best"]["predictor"], m["best"]))
    for which, name, parts in rows:
        for part, called in (("test", "test"), ("val", "validation")):
            s = parts[part]
            accuracy, low, high = (f"{100 * v:.2f}%" for v in (s["accuracy"], *s["interval"]))
            high += f" {100 * s['balanced_accuracy']:.2f}%"
            rest = " ".join(f"{s[k]:.4f}" for k in ("macro_f1", "ece", "brier", "nll"))
            assert f"{which} {name} {s['n']} {called} {accuracy} {low} to {high} {rest}" in text
    assert f"right about {100 * m['unlabelled']['accuracy']:.2f}% of the" in text


def test_confusion_figure_holds_the_counts(run):
    m = json.loads((run / "metrics.json").read_text())
    counts = np.array(m["headline"]["test"]["confusion"])
    drawn = str(figures.confusion(counts, [str(k) for k in range(10)]))
    held = re.findall(r"<title>true (\d), predicted (\d): (\d+) \(", drawn)
    assert [(int(i), int(j), int(n)) for i, j, n in held] == [
        (i, j, counts[i, j]) for i in range(10) for j in range(10)
    ]
    assert drawn in (run / "report.html").read_text()


def test_says_how_the_network_was_chosen(run):
    text = read_page(run).text
    assert re.search(r"best accuracy on \d+ validation images, which took no part in training", text)
    assert "Test accuracy was logged while training went on (--test-curve); it chose nothing" in text


def test_says_how_it_was_made(run):
    page, config = read_page(run).text, json.loads((run / "config.json").read_text())
    environment = json.loads((run / "environment.json").read_text())
    assert config["fingerprint"] in page
    assert environment["torch"] in page
    assert "method.tau 0.2" in page
    assert "settings.split_seed" not in page
    assert "split_seed 0" in page
    assert "No file was left out" in page


def test_without_validation_test_curve_or_unlabelled_truth(tmp_path, digits):
    unknown = digits.y.clone()
    keep = torch.cat([(digits.y == k).nonzero().flatten()[:3] for k in range(10)])
    unknown[torch.isin(torch.arange(len(unknown)), keep, invert=True)] = -1
    bare = replace(digits, y=unknown, given=unknown >= 0, test_x=None, test_y=None)
    result = train(bare, method="fixmatch", out=tmp_path / "r", **SHORT)
    page = read_page(result.folder)
    assert "there was no test or validation image to score it on" in page.text
    assert "No validation image was held out, so nothing was chosen" in page.text
    assert "There are no test images" in page.text
    assert "There was no test or validation image, so nothing here says how good the network is" in page.text
    assert "No test or validation image, no mistakes to show" in page.text
    assert "No image was held out for validation, so there is no curve of accuracy" in page.text
    assert {"figure-predicted", "unsure-unlabelled"} <= page.ids
    assert not {"figure-confusion", "figure-reliability", "unsure-test", "figure-accuracy"} & page.ids
    m = result.metrics["unlabelled"]
    assert m["labels_known"] == 0  # of the 30 labelled ones, which FixMatch also uses, nothing was hidden
    assert "label unknown (1408)" in (result.folder / "report.html").read_text()


def test_supervised_taught_nothing(tmp_path):
    result = train("digits", method="supervised", labels_per_class=3, out=tmp_path / "r", **SHORT)
    page = read_page(result.folder)
    assert "taught the network nothing about single unlabelled images" in page.text
    assert "figure-teaching" not in page.ids
    assert "The test images were scored once, after training; nothing was chosen on them" in page.text


def test_names_and_paths_are_escaped(tmp_path, digits):
    evil = "</script><script>alert(1)</script>"
    names = (evil, "<b>bold</b>", "a & b", '"quoted"', "{{ 7 * 7 }}", *digits.classes[5:])
    images = replace(
        digits, classes=names, note="<i>note</i>", skipped=(("<img src=x onerror=alert(2)>.png", "not <an> image"),)
    )
    folder = train(images, method="fixmatch", labels_per_class=3, out=tmp_path / "a<b>&c", **SHORT).folder
    text = (folder / "report.html").read_text()
    page = Reader(text)
    assert "alert(1)</script>" not in text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "onerror=alert(2)" in page.text
    assert "not <an> image" in page.text
    assert "1 file was left out" in page.text
    assert evil in page.text  # as text
    assert "{{ 7 * 7 }}" in page.text
    assert "<i>note</i>" in page.text
    assert "a<b>&c" in page.text
    assert all(url.startswith("data:") for url in page.fetched)
    assert "<b>" not in text
    assert "&lt;b&gt;bold&lt;/b&gt;" in text


def test_plane_of_two_features(tmp_path):
    images = open_data("two-spirals", progress=False)
    folder = train(images, method="supervised", labels_per_class=5, out=tmp_path / "r", **SHORT).folder
    page = read_page(folder)
    assert "figure-plane" in page.ids
    assert "labelled" not in page.ids
    assert "img" not in page.tags


def test_other_vectors_have_no_pictures(tmp_path):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(80, 5, generator=g)
    y = (x[:, 0] > 0).long()
    images = open_data({"x": x.numpy(), "y": y.numpy()}, progress=False)
    assert isinstance(images, ImageSet)
    assert not images.is_images
    folder = train(images, method="supervised", labels_per_class=5, out=tmp_path / "r", **SHORT).folder
    page = read_page(folder)
    assert "pictures" not in page.ids
    assert "scores" in page.ids


def test_comparison_stands_on_top(run, digits, tmp_path):
    rows = (
        Contender("one", "first <way>", 0.5, (0.4, 0.6), 1.25),
        Contender("two", "second way", 0.75, (0.7, 0.8), 2.0, True),
    )
    place = tmp_path / "page.html"
    write_page(place, Folder(run), digits, Comparison("Two ways", rows, "the note"))
    page = Reader(place.read_text())
    assert "comparison" in page.ids
    assert "one first <way> 50.00% 40.00% to 60.00% 1.2" in page.text
    assert "two second way 75.00% 70.00% to 80.00% 2.0" in page.text
    assert page.text.index("Two ways") < page.text.index("Scores")


def test_page_of_an_old_run_is_the_same(run, digits):
    before = (run / "report.html").read_bytes()
    assert write_run_page(Folder(run), digits).read_bytes() == before


def test_many_classes_get_a_table_of_confused_pairs(run, digits):
    K = 40
    counts = np.eye(K, dtype=int) * 9
    counts[3, 7], counts[8, 2] = 5, 1
    pairs = tables.confused_pairs(counts, [f"c{k}" for k in range(K)])
    assert pairs == [("c3", "c7", 5, "35.71%"), ("c8", "c2", 1, "10.00%")]
    drawn = str(figures.per_class([k / K for k in range(K - 1)] + [None], counts, [f"c{k}" for k in range(K)]))
    assert "c0" in drawn
    assert "c38" not in drawn  # the worst thirty only


def test_predictions_pick_the_unsure_and_the_surely_wrong():
    p = np.array([[0.9, 0.1], [0.45, 0.55], [0.2, 0.8], [0.3, 0.7], [0.99, 0.01]], dtype=np.float32)
    found = Predictions(p, np.array([0, 1, 0, 0, -1]), np.arange(5))
    assert found.unsure(2).tolist() == [1, 3]
    assert found.confident_mistakes(9).tolist() == [2, 3]
    assert found.right.tolist() == [True, True, False, False, False]


def test_thumbnails_keep_pixels_of_small_and_shrink_large_pictures():
    import base64
    import io

    from PIL import Image

    def back(uri):
        return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))

    grey = torch.randint(0, 256, (1, 28, 20), dtype=torch.uint8)
    uri, small = png(grey)
    assert small
    assert np.array_equal(np.asarray(back(uri)), grey[0].numpy())
    colour = torch.randint(0, 256, (3, 300, 200), dtype=torch.uint8)
    uri, small = png(colour)
    assert not small
    assert back(uri).size == (64, 96)
    assert back(uri).mode == "RGB"


def test_shares_and_losses_are_told_apart():
    log = [{"step": 1, "stage": "a", "L_s": 1.0, "1/L_n": 2.0, "delta": 0.5, "mask_rate": 0.1, "lr/net": 0.3}]
    assert figures.numbers(log) == ["L_s", "1/L_n", "delta"]
    assert [k for k in figures.numbers(log) if figures.is_loss(k)] == ["L_s", "1/L_n"]


def test_record_reads_what_the_run_wrote(run, digits):
    record = read_record(Folder(run), digits)
    assert record.part == "test"
    assert record.test is not None
    assert float(record.test.right.mean()) == pytest.approx(record.headline["test"]["accuracy"], abs=1e-9)
    assert float(record.unlabelled.right.mean()) == pytest.approx(record.metrics["unlabelled"]["accuracy"], abs=2e-3)


class Interrupt:
    """A watcher that stops the run after its first step, as a signal would."""

    def __init__(self, trainer):
        self.trainer = trainer

    def logged(self, row): ...
    def evaluated(self, row): ...

    def at(self, step, steps, stage):
        self.trainer.signum = 2


def test_session_is_told_what_goes_on(tmp_path, capsys):
    from halfseen.settings import Settings

    settings = Settings(method="supervised", labels_per_class=3, **SHORT)
    with pytest.raises(Stopped):
        Session("digits", settings, tmp_path / "r", go_on="go", watchers=[Interrupt]).run()
    assert "Go on with: go\n" in capsys.readouterr().out
