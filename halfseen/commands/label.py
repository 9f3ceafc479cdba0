"""`halfseen label`: name pictures in the browser, or take over what was named elsewhere."""

import contextlib
import secrets
from pathlib import Path

from halfseen.data.folders import scan
from halfseen.errors import UserError, quoted
from halfseen.labelling.table import Answer, Table, only_one
from halfseen.suggest.look import Look
from halfseen.suggest.pool import Pool, is_run, open_pool
from halfseen.suggest.sheets import read_sheet


def label(source: Path, train: bool, every: int, port: int, show: bool, seed: int, look: Look) -> None:
    """Serve the page until Ctrl-C."""
    try:
        from halfseen.labelling.server import HOME, listening, make_app, serve
    except ImportError as e:
        raise UserError("the page for labelling needs starlette and uvicorn: run `pip install halfseen[label]`") from e
    from halfseen.labelling.desk import Desk
    from halfseen.labelling.worker import Worker

    if every < 1:
        raise UserError(f"--every {every}: train again after 1 answer or more")
    listener = listening(port)
    with listener:
        print(f"Looking at the pictures of {source}", flush=True)
        pool = open_pool(source, look)
        with only_one(pool.folder):
            table = Table(pool.folder, by_folders(pool))
            desk = Desk(pool, table, train=train, every=every, seed=seed)
            worker = Worker(desk)
            worker.turn()  # a second or two, so that the first picture is well chosen and not any
            worker.start()
            token, port = secrets.token_urlsafe(24), listener.getsockname()[1]
            address = f"http://{HOME}:{port}/{token}/"
            if desk.nameless:
                first = quoted(pool.paths[min(desk.nameless)])
                print(
                    f"{len(desk.nameless)} pictures are left out, since no table can name them, such as {first}: rename them"
                )
            print(f"Label {len(pool.paths):,} pictures of {pool.folder} at {address}", flush=True)
            print(
                "Only this machine can open it, and only with this address. Ctrl-C ends it; every answer is kept.",
                flush=True,
            )
            if show:
                import webbrowser

                webbrowser.open(address)
            with contextlib.suppress(KeyboardInterrupt):  # the usual end
                serve(make_app(desk, token, port), listener)
            worker.end()
            print(ending(desk.given().classes, len(desk.given().ids), table.file, pool.folder))


def ending(classes: tuple[str, ...], named: int, file: Path, folder: Path) -> str:
    if len(classes) < 2:
        return f"{named} pictures are named; a classifier needs some of two classes: halfseen label {folder}"
    return f"{named} pictures of {len(classes)} classes are named in {file}. Now: halfseen train {folder}"


def by_folders(pool: Pool) -> dict[str, str]:
    """Labels that the folder tells without a table, which a table would hide: it takes them over."""
    named = {path: name for path, name in zip(pool.paths, pool.labels, strict=True) if name}
    return named | pool.aside


def take(source: Path, file: Path, look: Look) -> None:
    """The labels of a filled-in table or of Label Studio, into the folder's labels.csv."""
    if is_run(source):
        raise UserError(f"--take writes into a folder's labels.csv: name the folder of pictures, not the run {source}")
    if not source.is_dir():
        raise UserError(f"there is no folder {source}: name the folder of pictures")
    found = read_sheet(file, source)
    rows, _ = scan(source, pool=True, albums=look.albums)
    with only_one(source):
        table = Table(source, {row.path: row.label for row in rows if row.label})
        other = [(p, was) for p, new in found.items() if (was := table.of(p).label) not in ("", new)]
        if other:
            path, was = other[0]
            raise UserError(
                f"{file} names {path} {found[path]}, and {table.file.name} has {was}"
                f"{f' (and {len(other) - 1} more like it)' if len(other) > 1 else ''}: keep the right one in both"
            )
        new = {path: Answer(name) for path, name in found.items() if not table.of(path).label}
        if new:
            table.put(new)
    print(f"{len(new)} new labels of {len(found)} in {file} are in {table.file} now; halfseen train {source}")
