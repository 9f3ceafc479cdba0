"""Sections of docs/evidence.md about tables that `halfseen reproduce` fills: the claim, the table, what was found."""

from collections.abc import Mapping, Sequence

import cifar_small_trials
from evidence_tables import Kept, Todo, above, mean, table, verdict
from trials import read

from halfseen.recipes import recipes
from halfseen.report.chart import Chart, linear

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56606a", "#b8860b")
Section = tuple[list[str], dict[str, str]]  # lines of the page, and pictures by name
Todos = Mapping[str, Todo]


def paper_of(recipe: str, **titles: str) -> dict[tuple[str, int | None], float]:
    """The paper's accuracies by our rows' titles: of its recipe's row, what it is called here."""
    known = {row.title: row.paper for row in recipes()[recipe].rows}
    return {(ours, n): a for theirs, ours in titles.items() for n, a in known[theirs].items()}


def left(name: str, told: Todos) -> list[str]:
    """What of the table has not been run, and the command that runs it."""
    if name not in told or not told[name].left:
        return []
    it = told[name]
    named = "; ".join(it.rows[:6]) + (f"; and {len(it.rows) - 6} more rows" if len(it.rows) > 6 else "")
    return ["", f"**Not run yet: {it.left} of {it.runs} runs** ({named}). `{it.command}`"]


def picture(name: str, chart: Chart, said: str) -> Section:
    return ["", f"![{said}](evidence/{name}.svg)"], {f"{name}.svg": chart.alone()}


def compared(kept: Kept, labels: int, pairs: Sequence[tuple[str, str]]) -> str:
    return " ".join(verdict(a, b, kept.scores(a, labels), kept.scores(b, labels)) for a, b in pairs)


def all_above(kept: Kept, labels: int, pairs: Sequence[tuple[str, str]]) -> str:
    """Whether a claim that the first of each pair is the better one holds, in a word or two."""
    shown = [above(kept.scores(a, labels), kept.scores(b, labels)) for a, b in pairs]
    if all(shown):
        return "The claim holds here."
    return "The claim is not shown here." if not any(shown) else "The claim is shown in part."


# ---- MNIST -----------------------------------------------------------------------------------------------------------


def small(todo: Todos) -> Section:
    kept = Kept.read("mnist-small")
    paper = paper_of("dnll/t4", dnll="DNLL") | paper_of("ccn/t2-mnist", CCN="CCN")
    lines = ["## MNIST within minutes (`mnist-small`)", ""]
    lines += [
        "The papers: each method is far above the labels alone; their numbers are of the 13-layer network and 300 epochs."
    ]
    lines += ["Here: the small network at width 16 and 1.6e6 network passes.", ""]
    lines += [*table(kept, "supervised", paper), ""]
    fewest = {"DNLL": 20, "DNLL, aligned": 20, "CCN": 50, "R2-D2": 100, "ComMatch": 20}
    alone = [above(kept.scores(m, n), kept.scores("supervised", n)) for m, n in fewest.items()]
    holds = "holds for every method" if all(alone) else "does not hold for every method"
    lines += [
        f"**Found.** With the fewest labels that a row has, the claim {holds}; FixMatch is the harder comparison:",
        "",
    ]
    for m, n in fewest.items():
        lines.append(f"- {n} labels: {compared(kept, n, [(m, 'supervised'), (m, 'FixMatch')])}")
    return lines + left("mnist-small", todo), {}


def ceiling(todo: Todos) -> Section:
    kept = Kept.read("mnist-ceiling")
    lines = ["## What the network can reach at all (`mnist-ceiling`)", ""]
    lines += ["All 60,000 labels, so that the tables with few of them have an upper end.", ""]
    if kept.rows:
        best = max(kept.rows, key=lambda r: mean(r["accuracies"]))
        said = f"The highest is {100 * mean(best['accuracies']):.2f}%, {best['method']}"
        lines += [*table(kept, "width 16", {}), "", f"**Found.** {said}: that much room a row with few labels has."]
    return lines + left("mnist-ceiling", todo), {}


def long(todo: Todos) -> Section:
    once, ten, more = (Kept.read(n) for n in ("mnist-small", "mnist-long-x10", "mnist-long-x25"))
    paper = paper_of("dnll/t4", dnll="DNLL") | paper_of("dnll/t4", dnll="DNLL, aligned")
    lines = ["## Ten times as long, and more (`mnist-long-x10`, `mnist-long-x25`)", ""]
    lines += ["To beat: DNLL's published 99.19% with 20 labels and 99.54% with 100; and FixMatch at the same cost.", ""]
    for kept in (ten, more):
        if kept.rows:
            lines += [f"`{kept.name}`:", "", *table(kept, "FixMatch", paper), ""]
    said = [longer(once, ten, row, 20) for row in ("DNLL, aligned", "FixMatch")]
    said.append(compared(ten, 20, [("DNLL, aligned", "FixMatch")]))
    reached = [mean(s.values()) for k in (ten, more) for r in ("DNLL", "DNLL, aligned") if (s := k.scores(r, 20))]
    said.append(f"DNLL's 99.19% with 20 labels {'is' if reached and max(reached) >= 99.19 else 'is not'} reached.")
    said.append("[What one picture is worth there](all-methods.md#what-one-picture-among-the-twenty-is-worth).")
    lines.append("**Found.** " + " ".join(said))
    return lines + left("mnist-long-x10", todo) + left("mnist-long-x25", todo), {}


def longer(short: Kept, many: Kept, row: str, labels: int) -> str:
    return verdict(f"{row} ten times as long", "once as long", many.scores(row, labels), short.scores(row, labels))


# ---- parts of the methods --------------------------------------------------------------------------------------------


def networks(todo: Todos) -> Section:
    kept, before = Kept.read("dnll-t6-small"), Kept.read("mnist-parts")
    lines = ["## One network or two, EPM or EP (`dnll/t6-small`)", ""]
    said = ", ".join(f"{r.title} {r.paper[4000]:.2f}" for r in recipes()["dnll/t6"].rows)
    lines += [f"DNLL's Table 6 (CIFAR-10, 4,000 labels, WRN-28-2): {said}."]
    lines += ["Its claims: two networks (ML) are better than one (SL), and EPM helps both.", ""]
    if kept.rows:
        pairs = [("ML", "SL"), ("ML without EPM", "SL without EPM"), ("ML", "ML without EPM"), ("SL", "SL without EPM")]
        lines += [*table(kept, "SL without EPM", {}), ""]
        lines += [f"**Found.** {all_above(kept, 50, pairs)} {compared(kept, 50, pairs)}", ""]
    pairs = [("DNLL", "DNLL, SL"), ("DNLL, SL", "DNLL, SL, EP"), ("DNLL", "DNLL, EP")]
    lines += [f"Half as long, 20 labels (`mnist-parts`; *DNLL* is ML with EPM): {compared(before, 20, pairs)}"]
    return lines + left("dnll-t6-small", todo), {}


def negatives(todo: Todos) -> Section:
    kept, before = Kept.read("dnll-t5-small"), Kept.read("mnist-parts")
    lines = ["## How many negatives (`dnll/t5-small`)", ""]
    said = ", ".join(f"{r.title} {r.paper[4000]:.2f}" for r in recipes()["dnll/t5"].rows)
    lines += [f"DNLL's Table 5 (CIFAR-10, 4,000 labels): {said}."]
    lines += ["Its claims: m = 3 is best, and EPM is above EP (but for m = 4).", ""]
    drawn: dict[str, str] = {}
    pairs = [(f"EPM m={m}", f"EP m={m}") for m in range(1, 7)]
    if kept.rows and not any(kept.scores(a, 50).keys() & kept.scores(b, 50).keys() for a, b in pairs):
        lines += [*table(kept, "EP m=1", {}), "", "No draw has EP and EPM yet.", ""]
    elif kept.rows:
        heights = [100 * mean(r["accuracies"]) for r in kept.rows]
        chart = Chart("t5", linear([1, 6]), linear(heights), ("m", "test accuracy, %"))
        for kind, colour in zip(("EP", "EPM"), COLOURS, strict=False):
            found = {m: s for m in range(1, 7) if (s := kept.scores(f"{kind} m={m}", 50))}
            chart.line(list(found), [mean(s.values()) for s in found.values()], kind, colour)
        more, drawn = picture("dnll-t5", chart, "Test accuracy by m, EP and EPM")
        lines += [*table(kept, "EP m=1", {}), *more, "", f"**Found.** EPM: {all_above(kept, 50, pairs).lower()}"]
        lines[-1] += " " + compared(kept, 50, [*pairs, ("EPM m=3", "EPM m=1"), ("EPM m=6", "EPM m=3")])
        lines.append("")
    pairs = [("DNLL", f"DNLL, m={m}") for m in (1, 3, 9)]
    lines += [f"Half as long, 20 labels (`mnist-parts`; *DNLL* has m = 6): {compared(before, 20, pairs)}"]
    return lines + left("dnll-t5-small", todo), drawn


def commatch(todo: Todos) -> Section:
    kept, before = Kept.read("commatch-t3-small"), Kept.read("mnist-parts")
    lines = ["## ComMatch without its parts (`commatch/t3-small`)", ""]
    lines += ["ComMatch's Table 3, whose numbers are lost: every part helps.", ""]
    if kept.rows:
        parts = ("without negative learning", "without dynamic thresholds", "without stability")
        pairs = [("ComMatch", part) for part in parts]
        lines += [*table(kept, "ComMatch", {}), ""]
        lines += [f"**Found.** {all_above(kept, 50, pairs)} {compared(kept, 50, pairs)}", ""]
    parts = ("ComMatch without negatives", "ComMatch, fixed thresholds", "ComMatch without stability")
    lines += [
        f"Half as long, 20 labels (`mnist-parts`): {compared(before, 20, [('ComMatch', part) for part in parts])}"
    ]
    return lines + left("commatch-t3-small", todo), {}


def repredictions(todo: Todos) -> Section:
    kept = Kept.read("mnist-r2d2")
    paper = [(r.title, r.paper[4000]) for r in recipes()["r2d2/t1"].rows]
    lines = ["## R2-D2's repredictions (`mnist-r2d2`)", ""]
    lines += [
        f"R2-D2's Table 1 (CIFAR-10, 4,000 labels): {', '.join(f'{t} {a:.2f}' for t, a in paper)}; a has no repeat,"
    ]
    lines += [
        "e has it with repredictions and a falling rate. Its claim: predicting the pseudo labels again helps.",
        "",
    ]
    pairs = [("R2-D2, 4 repredictions", "R2-D2, 0 repredictions"), ("R2-D2, 1 repredictions", "R2-D2, 0 repredictions")]
    lines += [*table(kept, "R2-D2, 0 repredictions", {}), ""]
    for n in (100, 1000):
        lines += [f"**Found**, {n:,} labels: {all_above(kept, n, pairs)} {compared(kept, n, pairs)}", ""]
    return lines + left("mnist-r2d2", todo), {}


def cifar(todo: Todos) -> Section:
    kept = Kept.read("cifar10-small")
    paper = paper_of("commatch/t2", fixmatch="FixMatch", commatch="ComMatch") | paper_of("dnll/t2", dnll="DNLL")
    lines = ["## CIFAR-10, 4,000 labels, in an hour of a core (`cifar10-small`)", ""]
    said = ", ".join(f"{title} {a:.2f}" for (title, n), a in paper.items() if n == 4000)
    lines += [f"The papers (WRN-28-2; FixMatch for 2^20 steps, two billion network passes): {said}."]
    lines += [
        "Here `air` of width 24, a tenth of the products, and 4 million passes: each should be above the labels alone,"
    ]
    lines += ["and all far from the papers.", ""]
    if kept.rows:
        pairs = [(m, "supervised") for m in ("FixMatch", "DNLL", "ComMatch")]
        lines += [*table(kept, "supervised", paper), "", f"**Found.** {compared(kept, 4000, pairs)}"]
    trials = read(cifar_small_trials.RESULTS)
    if trials:
        lines += [
            "",
            "Why DNLL is where it is was looked for at an eighth of the length (`python scripts/cifar_small_trials.py`):",
            "",
        ]
        lines += cifar_small_trials.table(trials)
        lines += [
            "",
            "In the same budget DNLL takes a fifth of the steps of the labels alone, each with half as many labelled",
            "images; the second row has its steps and its labels.",
        ]
    return lines + left("cifar10-small", todo), {}
