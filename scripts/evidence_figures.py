"""Sections of docs/evidence.md about the papers' figures and the cost of a step."""

import json
from statistics import median
from typing import Any

from evidence_kept import COLOURS, Section, Todos, left, picture
from evidence_tables import RESULTS, Kept, centre, mean, over, spans, table, verdict
from two_spirals import SEEDS

from halfseen.report.chart import Chart, linear
from halfseen.theory.spirals import ROWS as NETS

FIGURE_7 = ("DNLL", "Dual Student", "Mean Teacher", "source only")  # from the best
TABLE_7 = {"mean_teacher": 1.0, "dual_student": 0.145 / 0.072, "dnll": 0.143 / 0.072}


def adaptation(todo: Todos) -> Section:
    lines = ["## USPS to MNIST (`dnll/f7`)", ""]
    lines += [
        "DNLL's Figure 7: DNLL is above Dual Student, that above Mean Teacher, and that above the source alone.",
        "",
    ]
    drawn: dict[str, str] = {}
    for name, length in (("usps-mnist-whole", "the paper's length"), ("usps-mnist", "a twentieth of it")):
        kept, curves = Kept.read(name), RESULTS / name / "CURVES.json"
        if not kept.rows:
            continue
        lines += [f"`{name}`, {length}:", "", *table(kept, "source only", {})]
        if curves.is_file():
            chart = curve_chart(json.loads(curves.read_text()))
            more, pictures = picture(name, chart, "Test accuracy on MNIST along training")
            lines, drawn = lines + more, drawn | pictures
        best = sorted(kept.rows, key=lambda r: -mean(r["accuracies"]))
        told = ", ".join(f"{r['method']} {100 * mean(r['accuracies']):.1f}" for r in best)
        order = [r["method"] for r in best if r["method"] in FIGURE_7]
        said = "holds" if order == list(FIGURE_7) else "does not hold"
        lines += ["", f"**Found.** The figure's order {said} at this length, on one draw: {told}.", ""]
    return lines + left("usps-mnist-whole", todo), drawn


def curve_chart(curves: dict[str, list[dict[str, float]]]) -> Chart:
    """The first predictor's accuracy over the steps, a line for each run."""
    last = max(row["step"] for rows in curves.values() for row in rows)
    chart = Chart("curves", linear([0, last]), linear([0, 100]), ("step", "test accuracy, %"), height=260)
    for i, (name, rows) in enumerate(curves.items()):
        values = [100 * next(v for k, v in row.items() if k != "step") for row in rows]
        title = name.removesuffix("-all-0").replace("__", ", ").replace("_", " ")
        chart.line([row["step"] for row in rows], values, title, COLOURS[i % len(COLOURS)])
    return chart


def cost(todo: Todos) -> Section:
    lines = ["## What a step costs (`dnll/t7`)", ""]
    lines += [
        "DNLL's Table 7 (cnn13, 50 + 50 rows, a GTX 3060): Mean Teacher 0.072 s, Dual Student 0.145 s, DNLL 0.143 s."
    ]
    lines += ["Its claim: DNLL costs what Dual Student does, twice Mean Teacher: 1 : 2.01 : 1.99.", ""]
    told = json.loads((RESULTS / "dnll-t7.json").read_text())
    lines += [
        "| a step of | over Mean Teacher | its rounds | paper | passes | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    ratios: dict[str, float] = {}
    for row in told["rows"]:
        name = row["name"].removeprefix("method/")
        ratios[name] = row["value"]
        own, first = row["seconds"][name], next(iter(row["seconds"].values()))
        rounds = [a / b for a, b in zip(own, first, strict=True)]
        cells = [name.replace(",", ", "), f"{row['value']:.2f}", f"{min(rounds):.2f} to {max(rounds):.2f}"]
        cells += [f"{TABLE_7[name]:.2f}" if name in TABLE_7 else "", row["says"].rpartition("; ")[2].split()[0]]
        lines.append(f"| {' | '.join([*cells, f'{median(own):.1f}'])} |")
    e, dual, dnll = told["environment"], ratios["dual_student"], ratios["dnll"]
    lines += ["", f"`halfseen {e['command'].partition('__main__.py ')[2]}`: one process, one thread, in turn."]
    lines += [
        f"{e['cpu']}, torch {e['torch']}, halfseen at {e['git'][:7]}. Other work shared the machine (load {e['load']:.1f}"
    ]
    lines += [f"on {e['cores']} cores), so the ratios count and the seconds do not.", ""]
    holds = "holds" if max(abs(dual - 2), abs(dnll - 2)) < 0.5 else "does not hold"
    lines += [
        f"**Found.** The claim {holds}: 1 : {dual:.2f} : {dnll:.2f}. The second Mean Teacher is its first release's form."
    ]
    return lines, {}


def spirals(todo: Todos) -> Section:
    lines = ["## Two spirals (`ccn/f4`)", ""]
    lines += [
        "CCN's Figure 4: with 20 labels of each spiral, CCN's regions follow the spirals where those of its Net 1 do not.",
        "",
    ]
    whole = "`python scripts/two_spirals.py --out runs/ccn-f4`"
    path = RESULTS / "ccn-f4" / "results.json"
    if not path.is_file():
        return [*lines, f"**Not run yet.** {whole}"], {}
    found = json.loads(path.read_text())
    runs: list[dict[str, Any]] = found["runs"]
    epochs, many = runs[0]["epochs"], len(runs)
    scores = {n: [{r["seed"]: 100 * r["accuracy"][n][k] for r in runs} for k in range(len(epochs))] for n in NETS}
    lines += ["| epoch | Net 1 | CCN | CCN - Net 1 (95%) |", "| --- | --- | --- | --- |"]
    for k, epoch in enumerate(epochs):
        one, two = scores["net1"][k], scores["ccn"][k]
        lines.append(f"| {epoch} | {centre(one.values())} | {centre(two.values())} | {over(two, one)} |")
    chart = Chart("f4", linear(epochs), linear([40, 100]), ("epoch", "test accuracy, %"))
    for (name, title), colour in zip(NETS.items(), COLOURS, strict=False):
        chart.line(epochs, [mean(s.values()) for s in scores[name]], f"{title}, mean of {many} seeds", colour)
    more, drawn = picture("ccn-f4", chart, "Test accuracy along training")
    e = found["environment"]
    minutes = mean(r["minutes"] for r in runs)
    lines += ["", f"Seeds {spans(r['seed'] for r in runs)}, {runs[0]['steps']:,} steps, {minutes:.1f} minutes each,"]
    lines += [f"torch {e['torch']}, halfseen {e['halfseen']}. The regions of seed 0:"]
    lines += ["", "![What Net 1 and CCN say all over the plane](../results/ccn-f4/regions.svg)", *more, ""]
    one, two = scores["net1"][-1], scores["ccn"][-1]
    wins = sum(two[seed] > one[seed] for seed in two)
    said = verdict("CCN", "Net 1", two, one).replace("draws", "seeds")
    lines.append(f"**Found.** At the last epoch CCN is above Net 1 on {wins} of {many} seeds. {said}")
    if many < SEEDS:
        lines += ["", f"**Not run yet: {SEEDS - many} of {SEEDS} seeds.** {whole}"]
    return lines, drawn


def deciphered(todo: Todos) -> Section:
    lines = ["## R2-D2's plane and theorems (`r2d2/f2`)", ""]
    lines += ["Figure 2: after D2 the classes lie tighter and further apart in the plane than after the labels alone."]
    lines += [
        "Theorem 1: at the network's optimum ptil = exp(-L/alpha) phat^(1 - beta/alpha). Theorem 2: max ptil <= max phat.",
        "",
    ]
    whole = "`python scripts/decipher_plane.py --root data --out runs/r2d2-f2`"
    path = RESULTS / "r2d2-f2" / "results.json"
    if not path.is_file():
        return [*lines, f"**Not run yet.** {whole} (`--share 0.2`: a fifth of the length, ten minutes)"], {}
    told = json.loads(path.read_text())
    lines += ["| after | labelled | unlabelled | test | within/between, labelled | unlabelled |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    ratio = [[s[w]["within"] / s[w]["between"] for w in ("labelled", "unlabelled")] for s in told["stages"]]
    for s, (a, b) in zip(told["stages"], ratio, strict=True):
        cells = [f"{100 * v:.2f}" for v in (s["labelled"]["accuracy"], s["unlabelled"]["accuracy"], s["test"])]
        lines.append(f"| {' | '.join([s['stage'], *cells, f'{a:.3f}', f'{b:.3f}'])} |")
    lines += ["", "![The plane after each stage](../results/r2d2-f2/plane.svg)"]
    lines += ["", "![The gap of Theorem 1 along D2](../results/r2d2-f2/gaps.svg)"]
    e, first, last = told["environment"], told["gaps"][0], told["gaps"][-1]
    lines += [
        "",
        f"{told['share']:g} times the figure's length, {told['steps']:,} steps, {told['minutes']:.0f} minutes, draw 0,",
    ]
    lines += [f"torch {e['torch']}, halfseen at {e['git'][:7]}.", ""]
    said = "tighter" if ratio[1][1] < ratio[0][1] else "no tighter"
    held = [f"{100 * g['theorem2_holds']:.0f}%" for g in (first, last)]
    lines += [
        f"**Found.** The unlabelled classes are {said} after D2. The gap of Theorem 1 is {first['theorem1']:.4f} on"
    ]
    lines += [
        f"average as D2 begins and {last['theorem1']:.4f} as it ends; max ptil <= max phat holds for {held[0]} of the images"
    ]
    lines += [
        f"at first and {held[1]} at last. The theorems speak of a network at its optimum for labels that stand still; in"
    ]
    lines += ["training both move."]
    if told["share"] != 1:
        lines += ["", f"**Not run yet**: the figure's own length. {whole}"]
    return lines, {}
