"""docs/evidence.md and its pictures, made from what is committed under results/.

    python scripts/evidence.py      # again after every kept result; tests/report/test_evidence.py keeps the two equal

A section for each question: what the paper claims, the table, what was found (sentences whose words follow from the interval
of the paired differences), and what has not been run, with the command.
"""

from collections.abc import Callable

import evidence_figures as figures
import evidence_kept as tables
from evidence_kept import Section, Todos
from evidence_tables import RESULTS, missing

from halfseen.machine.files import write_bytes

PAGE = RESULTS.parent / "docs" / "evidence.md"
PICTURES = PAGE.parent / "evidence"
ON_GPU = {
    "dnll/t4": "DNLL on MNIST, 13-layer network, first",
    "dnll/t5": "its number of negatives, CIFAR-10",
    "dnll/t6": "its one network or two, CIFAR-10",
    "ccn/t2-mnist": "CCN on MNIST",
    "commatch/t2": "ComMatch on CIFAR-10",
}
HEAD = """# Evidence: what the papers claim, and what was found here

Made by `python scripts/evidence.py` from the files under [results/](../results/README.md), whose README names the command of
each. Everything was trained on a core of a CPU that other work shared. So it is the papers' *claims* that are asked
about, which method is above which, and not their numbers: networks are small and runs short, and the papers' columns say how
far off that is.

`ours` is test accuracy in percent, mean ± standard deviation over draws of the labels (a draw is its seed too); `over` is
the mean difference on the same draws with its 95% interval by Student's t. Minutes are of a shared core. No setting was
chosen on a draw that a table shows: settings come from hidden labels of the draws 100 to 108, or from the papers.

What is not run yet is in `results/queue.toml`, the most valuable first, and each command below runs a table by itself:
`nice halfseen reproduce --queue results/queue.toml --root data --out runs`.
"""
SECTIONS: tuple[Callable[[Todos], Section], ...] = (
    tables.small,
    tables.ceiling,
    tables.long,
    figures.adaptation,
    figures.cost,
    figures.deciphered,
    figures.spirals,
    tables.cifar,
    tables.commatch,
    tables.negatives,
    tables.networks,
    tables.repredictions,
)


def on_gpu() -> list[str]:
    said = "The papers' own tables at their own length have not been run; each needs a GPU for a day or more."
    commands = (
        f"- {about}: `halfseen reproduce {name} --root data --out runs/{name.replace('/', '-')}`"
        for name, about in ON_GPU.items()
    )
    return ["## With a GPU", "", said, "", *commands]


def made() -> tuple[str, dict[str, str]]:
    """The page and its pictures."""
    todo = missing()
    lines, pictures = [HEAD.rstrip()], dict[str, str]()
    for section in SECTIONS:
        more, drawn = section(todo)
        lines, pictures = [*lines, "", *more], pictures | drawn
    text = "\n".join([*lines, "", *on_gpu()]) + "\n"
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text, pictures


if __name__ == "__main__":
    page, drawn = made()
    PAGE.write_text(page)
    PICTURES.mkdir(exist_ok=True)
    for name, svg in drawn.items():
        write_bytes(PICTURES / name, svg.encode())
