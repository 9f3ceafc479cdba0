"""A run, begun or continued, and its page: what `halfseen train` and `halfseen.train` call."""

import os
from pathlib import Path
from typing import Any

from halfseen.data import ImageSet
from halfseen.errors import UserError
from halfseen.machine import distributed
from halfseen.machine.progress import Display
from halfseen.overrides import check
from halfseen.run.beginning import need_data, need_same, open_images
from halfseen.run.folder import Folder
from halfseen.run.outcome import headline_of
from halfseen.run.resume import resumed
from halfseen.run.session import NEW, Result, Session
from halfseen.settings import Settings, settings_of


def train(data: Any = None, *, out: Path | str | None = None, resume: bool = False, **settings: Any) -> Result:
    """Train as the command line does: `train("mnist-5k", method="fixmatch", num_labels=20, minutes=2)`.

    `data` is anything that `open_data` takes. Keyword arguments are the fields of `Settings`; settings of the method and
    the network go as `overrides={"method.tau": 0.9}`. `train(out="runs/x", resume=True)` goes on with a run that was
    stopped; data that are no file and no name are given again.
    """
    check(resume, bool, "resume")
    check(out, str | Path | None, "out")
    if data is None and not resume:
        raise UserError(
            "say what to train on: a folder of images, an .npz file, a name of `halfseen list`, or arrays as "
            "{'x': images, 'y': labels}"
        )
    place = None if out is None else Path(os.path.expanduser(out))  # not Path.expanduser, which raises for ~nobody
    return run(data, settings_of(settings), place, resume)


def run(data: Any, settings: Settings, out: Path | None, resume: bool, go_on: str | None = None) -> Result:
    """A run of these settings in the folder `out`; with `resume`, on from its last checkpoint.

    go_on: the command that continues it, where it is not `halfseen train --resume`.
    """
    began = None
    if resume:
        if out is None:
            raise UserError("--resume needs --out: name the folder of the run that is to go on")
        began = Folder.open(out)
        data, settings = resumed(began, data, settings)
        if began.finished:
            return finished(began, data, settings)
    elif out is not None:
        Folder.vacant(out)  # refuses what could not become the run's folder, before the data are read
    session = Session(data, settings, NEW if out is None else out, began, go_on=go_on)
    result = session.run()
    if settings.report and distributed.rank() == 0:
        write_page(Folder(result.folder), session.images, session.display)
    return result


def finished(folder: Folder, data: Any, settings: Settings) -> Result:
    """The result of a run that has come to its end; its page is written if that is missing, as after a full disk."""
    metrics = folder.read("metrics.json")
    try:
        headline = headline_of(metrics)
    except (KeyError, TypeError, AttributeError) as e:
        damaged = folder.path / "metrics.json"
        raise UserError(f"{damaged} is damaged; remove it, and the same command makes it again") from e
    display = Display(settings.quiet or distributed.outside_rank() > 0)
    whole = not settings.report or (folder.path / "report.html").is_file()
    left = "nothing is left to do" if whole else "only its page is missing"
    display.say(f"{folder.path} is finished already, {left}. {headline}")
    if not whole and distributed.outside_rank() == 0:
        if folder.read("config.json").get("from_python"):
            need_data(folder, data)
        images = open_images(data, settings)
        need_same(folder, images, str(data) if isinstance(data, str | Path) else images.name)
        write_page(folder, images, display)
    return Result(folder.path, metrics)


def write_page(folder: Folder, images: ImageSet, display: Display) -> None:
    from halfseen.report.page import write_run_page  # jinja2: only who wants a page waits for it

    display.say(f"The page that shows why to believe it: {write_run_page(folder, images)}")
