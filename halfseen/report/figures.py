"""The page's figures: plotly, from a run's record to a piece of HTML that needs plotly.js once on the page."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from halfseen.machine.progress import NOT_NUMBERS
from halfseen.report.record import Array, Predictions, Record

# Okabe and Ito's colours without the light ones: told apart by colour-blind readers too, and dark enough on white
BLUE, VERMILION, GREEN, PURPLE, BROWN, BLACK = "#0072B2", "#C4500A", "#00785A", "#A6487E", "#8A6100", "#333333"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, BROWN, BLACK)
DASHES = ("solid", "dash", "dot", "dashdot")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MOST_CELLS = 30  # classes up to which a confusion matrix can be read
MOST_BARS = 30
SHARES = {  # logged name -> what it says
    "mask_rate": "share of images used",
    "pseudo_accuracy": "right among those used",
    "labelled_pseudo_accuracy": "right among those used that are labelled",
    "negative_error": "wrong among negative labels",
}


def plotly_js() -> Markup:
    """plotly.js itself, for one script element; its text holds no closing tag of one."""
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def name(text: Any, most: int = 24) -> str:
    """A name for plotly, which reads its texts as a kind of HTML."""
    short = str(text) if len(str(text)) <= most else f"{str(text)[: most - 1]}…"
    return html.escape(short, quote=False)


def line(x: Sequence[Any], y: Sequence[Any], title: str, i: int = 0, **more: Any) -> dict[str, Any]:
    mode = "lines" if len(x) > 1 else "markers"
    dash = DASHES[i // len(COLOURS) % len(DASHES)]
    style = {"color": COLOURS[i % len(COLOURS)], "width": 2, "dash": dash}
    return {"type": "scatter", "mode": mode, "x": list(x), "y": list(y), "name": name(title), "line": style, **more}


def draw(
    key: str, traces: list[dict[str, Any]], x: str, y: str, height: int = 330, percent: bool = False, **layout: Any
) -> Markup:
    """One figure as HTML; its element's id is `figure-KEY`."""
    import plotly.graph_objects as go
    import plotly.io as io

    axis = {"gridcolor": "#E3E6EA", "zerolinecolor": "#C8CDD3", "linecolor": "#8A919A", "automargin": True}
    base: dict[str, Any] = {
        "template": "none",
        "font": {"family": FONT, "size": 13, "color": "#222"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
        "height": height,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
        "showlegend": len(traces) > 1 or "name" in traces[0],
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y}, **({"tickformat": ".0%"} if percent else {})},
    }
    for part, value in layout.items():
        base[part] = {**base.get(part, {}), **value} if isinstance(value, dict) else value
    config = {"responsive": True, "displayModeBar": False, "showTips": False}
    figure = go.Figure(data=traces, layout=base)
    return Markup(
        io.to_html(figure, config=config, include_plotlyjs=False, full_html=False, div_id=f"figure-{key}")
    )  # plotly escapes what it puts into its script


# ---- training ---------------------------------------------------------------------------------------------------------


def numbers(log: list[dict[str, Any]]) -> list[str]:
    """The names of what the method logged, in order: no learning rates, no shares."""
    found: dict[str, None] = {}
    for row in log:
        found.update(
            dict.fromkeys(k for k in row if k not in NOT_NUMBERS and k not in SHARES and not k.startswith("lr/"))
        )
    return list(found)


def is_loss(key: str) -> bool:
    """Loss terms are called L_something, as in the papers; in a composed method after a slash."""
    return key.rpartition("/")[2].startswith("L")


def curve(log: list[dict[str, Any]], key: str, i: int, title: str = "") -> dict[str, Any]:
    rows = [r for r in log if key in r]
    return line([r["step"] for r in rows], [r[key] for r in rows], title or key, i)


def losses(record: Record) -> Markup | None:
    keys = [k for k in numbers(record.log) if is_loss(k)]
    traces = [curve(record.log, k, i) for i, k in enumerate(keys)]
    return draw("losses", traces, "step", "loss, weighted") if traces else None


def other_numbers(record: Record) -> Markup | None:
    """What the method logged besides losses."""
    keys = [k for k in numbers(record.log) if not is_loss(k)]
    traces = [curve(record.log, k, i) for i, k in enumerate(keys)]
    return draw("other", traces, "step", "value") if traces else None


def teaching(record: Record) -> Markup | None:
    """How many of the unlabelled images were used, and how right the method was about them."""
    keys = [k for k in SHARES if any(k in r for r in record.log)]
    traces = [curve(record.log, k, i, SHARES[k]) for i, k in enumerate(keys)]
    top: dict[str, Any] = {"yaxis": {"range": [-0.02, 1.02]}}
    return draw("teaching", traces, "step", "share", percent=True, **top) if traces else None


def accuracy_curves(record: Record) -> Markup | None:
    """Validation accuracy, and test accuracy where it was logged, of every predictor."""
    lines: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
    for row in record.evaluations:
        for predictor, parts in row["predictors"].items():
            for part, scores in parts.items():
                xs, ys = lines.setdefault((part, predictor), ([], []))
                xs.append(row["step"])
                ys.append(scores["accuracy"])
    called = {"val": "validation", "test": "test, chose nothing"}
    traces = [
        line(xs, ys, f"{predictor} ({called.get(part, part)})", i)
        for i, ((part, predictor), (xs, ys)) in enumerate(sorted(lines.items(), reverse=True))
    ]
    return draw("accuracy", traces, "step", "accuracy", percent=True) if traces else None


# ---- scores -----------------------------------------------------------------------------------------------------------


def confusion(counts: Array, classes: Sequence[str]) -> Markup:
    """Rows are true classes, columns predicted ones; colour is the share of the row, text the count."""
    K = len(classes)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [name(c, 14) for c in classes]
    size = 13 if K <= 12 else 10 if K <= 20 else 8
    heat = {
        "type": "heatmap",
        "z": share.tolist(),
        "customdata": counts.tolist(),
        "text": [[str(n) if n else "" for n in row] for row in counts.tolist()],
        "texttemplate": "%{text}",
        "textfont": {"size": size},
        "hovertemplate": "true %{y}, predicted %{x}: %{customdata} (%{z:.1%} of the class)<extra></extra>",
        "colorscale": [[0, "#FFFFFF"], [0.02, "#DCEAF6"], [0.5, "#7FB2DA"], [1, "#08519C"]],
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
    }
    ticks = {"tickmode": "array", "tickvals": list(range(K)), "ticktext": names, "tickfont": {"size": size}}
    square: dict[str, Any] = {
        "xaxis": {**ticks, "showgrid": False},
        "yaxis": {**ticks, "autorange": "reversed", "showgrid": False},
    }
    return draw("confusion", [heat], "predicted", "true", min(720, 130 + max(K, 8) * 32), **square)


def per_class(recall: Sequence[float | None], counts: Array, classes: Sequence[str]) -> Markup:
    """Accuracy of each class as bars, the worst of them first where there are too many."""
    order = sorted(range(len(classes)), key=lambda k: (recall[k] is None, recall[k] or 0.0))[:MOST_BARS]
    if len(classes) <= MOST_BARS:
        order = list(range(len(classes)))
    values = [recall[k] for k in order]
    lengths = [max(v or 0.0, 0.004) for v in values]  # plotly writes nothing beside a bar without length
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": lengths,
        "y": list(range(len(order))),
        "text": [
            "no image" if v is None else f"{v:.1%} of {counts[k].sum()}" for v, k in zip(values, order, strict=True)
        ],
        "textposition": "auto",
        "insidetextanchor": "start",
        "marker": {"color": BLUE},
        "insidetextfont": {"color": "white"},
        "hoverinfo": "text",
    }
    ticks = {"tickmode": "array", "tickvals": list(range(len(order))), "ticktext": [name(classes[k]) for k in order]}
    axes: dict[str, Any] = {
        "yaxis": {**ticks, "autorange": "reversed", "showgrid": False},
        "xaxis": {"range": [0, 1], "tickformat": ".0%"},
    }
    return draw("classes", [bars], "share of the class recognised", "", 90 + 26 * len(order), **axes)


def reliability(bins: dict[str, Any]) -> Markup:
    """How often the network is right when it is that sure; on the diagonal it knows exactly."""
    low, high = np.array(bins["edges"][:-1]), np.array(bins["edges"][1:])
    full = [i for i, n in enumerate(bins["count"]) if n]
    traces = [
        {
            "type": "bar",
            "x": [float((low[i] + high[i]) / 2) for i in full],
            "y": [bins["accuracy"][i] for i in full],
            "width": [float(high[i] - low[i]) * 0.92 for i in full],
            "customdata": [[bins["count"][i], bins["confidence"][i]] for i in full],
            "hovertemplate": "%{customdata[0]} images, %{customdata[1]:.1%} sure, %{y:.1%} right<extra></extra>",
            "marker": {"color": BLUE},
            "name": "right",
        },
        line([0, 1], [0, 1], "as sure as right", 5, hoverinfo="skip"),
        {
            "type": "scatter",
            "mode": "text",
            "x": [float((low[i] + high[i]) / 2) for i in full],
            "y": [1.05] * len(full),
            "text": [str(bins["count"][i]) for i in full],
            "textfont": {"size": 10, "color": "#555"},
            "hoverinfo": "skip",
            "showlegend": False,
        },
    ]
    axes: dict[str, Any] = {"yaxis": {"range": [0, 1.1]}, "xaxis": {"range": [0, 1], "tickformat": ".0%"}}
    return draw("reliability", traces, "confidence", "right", percent=True, **axes)


def confidence_histogram(found: Predictions) -> Markup:
    """How sure the network is of the unlabelled images, split by right and wrong where that is known."""
    edges = np.linspace(0, 1, 21)
    groups = (
        ("right", found.right, GREEN),
        ("wrong", found.known & ~found.right, VERMILION),
        ("label unknown", ~found.known, "#8A919A"),
    )
    traces = [
        {
            "type": "bar",
            "x": ((edges[:-1] + edges[1:]) / 2).tolist(),
            "y": np.histogram(found.confidence[rows], edges)[0].tolist(),
            "name": f"{title} ({int(rows.sum())})",
            "marker": {"color": colour},
        }
        for title, rows, colour in groups
        if rows.any()
    ]
    top = 1.05 * float(np.log10(max(max(t["y"]) for t in traces)))  # from below 1, so that a single image shows
    axes: dict[str, Any] = {
        "xaxis": {"range": [0, 1], "tickformat": ".0%"},
        "yaxis": {"type": "log", "dtick": 1, "range": [-0.2, top]},
    }
    return draw("confidence", traces, "confidence", "images (logarithmic)", barmode="group", bargap=0, **axes)


def predicted_counts(found: Predictions, classes: Sequence[str]) -> Markup:
    """How many unlabelled images went to each class, beside how many are of it where all are known."""
    K = len(classes)
    said = np.bincount(found.label, minlength=K)
    order = np.arange(K) if K <= MOST_BARS else np.argsort(-said, kind="stable")[:MOST_BARS]
    groups = [("predicted", said, BLUE)]
    if found.known.all():
        groups.append(("true", np.bincount(found.y, minlength=K), "#B9C2CC"))
    traces = [
        {
            "type": "bar",
            "x": list(range(len(order))),
            "y": counts[order].tolist(),
            "name": title,
            "marker": {"color": colour},
        }
        for title, counts, colour in groups
    ]
    ticks: Any = {
        "tickmode": "array",
        "tickvals": list(range(len(order))),
        "ticktext": [name(classes[k]) for k in order],
    }
    return draw("predicted", traces, "class", "unlabelled images", barmode="group", xaxis=ticks)
