"""`halfseen suggest`: which pictures to label next, into a file to fill in."""

from pathlib import Path

from halfseen.data.folders import TABLE
from halfseen.suggest.choose import suggestions
from halfseen.suggest.look import Look
from halfseen.suggest.pool import open_pool
from halfseen.suggest.sheets import check_out, write_sheet


def suggest(source: Path, num: int | None, out: Path, strategy: str, seed: int, look: Look) -> None:
    check_out(out)
    print(f"Looking at the pictures of {source}", flush=True)
    pool = open_pool(source, look)
    found = suggestions(pool, num, strategy, seed)
    write_sheet(out, found)
    named, rest = len(pool.labelled), len(pool.paths) - len(pool.labelled)
    print(f"{out}: {len(found)} of {rest:,} pictures without a label ({named:,} have one), the most wanted first")
    if named > rest and not (pool.folder / TABLE).is_file():
        print("Their subfolders are taken for classes; where they are none, add --albums")
    if out.suffix == ".csv":
        print(f"Now fill in its column label, then: halfseen label {pool.folder} --take {out}")
    else:
        print(f"Now import it into Label Studio, export JSON, then: halfseen label {pool.folder} --take EXPORT.json")
    print(f"Or name them in the browser: halfseen label {source}")
