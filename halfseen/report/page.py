"""The page that shows whether to believe a run: one HTML file with everything in it, for a browser without a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from halfseen.data import ImageSet
from halfseen.machine.files import write_bytes
from halfseen.report import figures, pictures, tables
from halfseen.report.record import Record, read_record
from halfseen.report.tables import Comparison
from halfseen.run.folder import Folder

HERE = Path(__file__).parent


def write_run_page(folder: Folder, images: ImageSet) -> Path:
    """Write `report.html` into the folder of a finished run."""
    return write_page(folder.path / "report.html", folder, images)


def write_page(path: Path, folder: Folder, images: ImageSet, comparison: Comparison | None = None) -> Path:
    """Write the page of a finished run, with a comparison on top if there is one, to any place."""
    page = render(fill(read_record(folder, images), comparison))
    write_bytes(path, page.encode(errors="backslashreplace"))  # a file name need not be UTF-8
    return path


def fill(record: Record, comparison: Comparison | None) -> dict[str, Any]:
    """Everything that the template lays out."""
    scores = record.scores
    return {
        "title": f"{record.metrics['method']} on {record.metrics['data']}",
        "headline": tables.headline_sentence(record),
        "verdict": record.metrics.get("verdict", []),
        "calibration": tables.calibration(record),
        "how_chosen": tables.how_chosen(record),
        "comparison": comparison,
        "scores": tables.score_rows(record),
        "part": tables.PARTS.get(record.part or ""),
        "losses": figures.losses(record),
        "accuracy_curves": figures.accuracy_curves(record),
        "other_numbers": figures.other_numbers(record),
        "teaching": figures.teaching(record),
        "unlabelled_sentence": tables.unlabelled_sentence(record),
        **({} if scores is None else about_scores(scores, record.classes)),
        **about_unlabelled(record),
        "galleries": pictures.galleries(record),
        "plane": pictures.plane(record),
        "facts": tables.facts(record),
        "settings": tables.settings(record),
        "files": tables.files(record),
        "percent": tables.percent,
        "interval": tables.interval,
    }


def about_scores(scores: Mapping[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    """Confusion, classes and calibration of the headline network."""
    counts = np.array(scores["confusion"])
    readable = len(classes) <= figures.MOST_CELLS
    return {
        "confusion": figures.confusion(counts, classes) if readable else None,
        "pairs": None if readable else tables.confused_pairs(counts, classes),
        "per_class": figures.per_class(scores["per_class"], counts, classes),
        "reliability": figures.reliability(scores["reliability"]),
        "ece": tables.percent(scores["ece"]),
        "worst": len(classes) > figures.MOST_BARS,
    }


def about_unlabelled(record: Record) -> dict[str, Any]:
    found = record.unlabelled
    if found is None:
        return {}
    return {
        "predicted_counts": figures.predicted_counts(found, record.classes),
        "confidence_histogram": figures.confidence_histogram(found),
    }


def render(values: Mapping[str, Any]) -> str:
    """The template with these values; whatever is text is escaped."""
    from jinja2 import Environment, FileSystemLoader

    templates = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return templates.get_template("page.html").render(values)
