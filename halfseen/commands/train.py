"""A run, begun or continued, and its page: what `halfseen train` and `halfseen.train` call."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halfseen.data import ImageSet
from halfseen.errors import UserError
from halfseen.machine import distributed
from halfseen.machine.progress import Display
from halfseen.overrides import check
from halfseen.probes import PROBES
from halfseen.run.beginning import need_data, need_same, open_images
from halfseen.run.choose import choose
from halfseen.run.easier import TooSlowError
from halfseen.run.fit import Fit
from halfseen.run.folder import Folder, fresh_place
from halfseen.run.outcome import headline_of
from halfseen.run.resume import resumed
from halfseen.run.session import NEW, Result, Session
from halfseen.run.start import settled
from halfseen.run.tune import head_folder, head_settings, need_same_head, start_of
from halfseen.settings import AUTO, Settings, settings_of


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
    place, choice = NEW if out is None else out, None
    if settings.method == AUTO:
        settings, choice = choose(data, settings)
    made: Session | Fit
    if settings.tune != "head":
        made = tuning(data, settings, place, began, choice)
        result = made.run()
    elif settings.method in PROBES:
        made = Fit(data, settings, choice=choice)
        result = made.run(place, began)
    else:
        made, result = in_time(data, settings, place, began, go_on, choice)
    if settings.report and distributed.rank() == 0:
        write_page(Folder(result.folder), made.images, made.display)
    return result


def in_time(
    data: Any,
    settings: Settings,
    place: Path,
    began: Folder | None,
    go_on: str | None,
    choice: Mapping[str, Any] | None,
) -> tuple[Session, Result]:
    """The run; where too few of its steps would fit into its minutes, with something easier."""
    while True:
        session = Session(data, settings, place, began, go_on=go_on, choice=choice)
        try:
            return session, session.run()
        except TooSlowError as e:
            session.display.say(e.said)
            settings = e.settings


def tuning(
    data: Any, settings: Settings, place: Path, began: Folder | None, choice: Mapping[str, Any] | None
) -> Session:
    """The second of two runs: what it starts from is trained first, unless it is there."""
    settings, _ = settled(data, settings)
    if place is NEW:
        place = fresh_place(NEW, str(data) if isinstance(data, str | Path) else "arrays", settings.method)
    head = head_folder(place)
    if began is None:
        asked = settled(data, head_settings(settings))[0]
        if there := (head / "config.json").is_file():
            need_same_head(head, asked)
        run(data, asked, head, resume=there, go_on="the same command again")
    return Session(data, settings, place, began, start=start_of(head), choice=choice)


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
    from halfseen.report.page import write_run_page  # plotly and jinja2: only who wants a page waits for them

    display.say(f"The page that shows why to believe it: {write_run_page(folder, images)}")
