"""`halfseen suggest`: which pictures to label next, into a file to fill in; which labels to look at again, with pictures."""

from pathlib import Path

from halfseen.data.folders import TABLE
from halfseen.errors import UserError
from halfseen.labelling.gallery import write_gallery
from halfseen.suggest.choose import suggestions
from halfseen.suggest.look import Look
from halfseen.suggest.pool import open_pool
from halfseen.suggest.sheets import check_out, write_sheet
from halfseen.suggest.wrong import need_cleanlab, need_unshaped, wrong


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


def suggest_wrong(source: Path, num: int | None, out: Path, seed: int, look: Look) -> None:
    """Labels that are probably wrong, in a table and, beside it, a page with their pictures."""
    need_cleanlab()
    check_out(out)
    page = out.with_suffix(".html")
    if out.suffix != ".csv" or page.exists():
        fault = f"{page} exists" if out.suffix == ".csv" else "the list of labels is a table and a page"
        raise UserError(f"--out {out}: {fault}; name another file, FILE.csv, beside which FILE.html is written")
    need_unshaped(source)
    print(f"Looking at the pictures of {source}", flush=True)
    pool = open_pool(source, look)
    found = wrong(pool, num, seed)
    labels = len(pool.labelled)
    if not found:
        print(f"None of the {labels:,} labels is suspected to be wrong; nothing was written")
        return
    write_sheet(out, found)
    write_gallery(page, f"{len(found)} of {labels:,} labels to look at again", found, pool.folder)
    where = pool.folder / TABLE
    mend = f"in {where}" if where.is_file() else f"by moving the picture into the right folder of {pool.folder}"
    print(f"{out}: {len(found)} of {labels:,} labels, the most doubtful first; their pictures: {page}")
    print(f"Look at each: some are right. Correct what is wrong {mend}, and train again")
