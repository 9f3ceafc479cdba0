"""Which images to label next: strategies on features and probabilities. `STRATEGIES` holds them by name.

    random         any, each as likely
    typical        of each k-means cluster the image with the least mean distance to its neighbours in the cluster; clusters
                   without a label first, the large ones before the small ones    (Hacohen et al. 2022, arXiv:2202.02794)
    least-sure     1 - max_k p_k
    margin         the least difference between the two most probable classes
    core-set       the image farthest from all that are labelled or chosen, again and again
                                                                                  (Sener and Savarese 2018, arXiv:1708.00489)
    disagreement   mean_m KL(p_m || mean of all p_m), of several networks
    spread         of the `WIDER` num least sure by margin, one near each centre of a k-means that weighs an image by how
                   unsure it is, so that the chosen ones differ                   (Zhdanov 2019, arXiv:1901.05954)

Numpy arrays: x [N, d] features, p [N, K] probabilities, both of all images; `labelled` are row numbers. A strategy gives an
order, the most wanted first, which may be longer than `num`; `chosen` takes from it what has no label yet and is no
near-duplicate of what has one or was taken before.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from halfseen.errors import UserError, nearest
from halfseen.probes.rows import Array

DIRECTIONS = 64  # strongest ones of the features, in which clusters are looked for: as good, and a tenth of the time
MOST_CLUSTERS = 500
SMALL = 5  # images below which a cluster comes last: it is of outliers
NEIGHBOURS = 20  # typicality is taken over so many
SAMPLE = 3_000  # images of a cluster that distances are taken to
WIDER = 10
# cosine of centred features above which two pictures are near-duplicates, so that one label serves both: of 200 blood cells
# 1% have another above 0.937; a copy that is cut by 3%, brighter by 5% or saved as JPEG 80 has mostly 0.93 to 0.99
TWIN = 0.93
TINY = 1e-12


@dataclass(frozen=True)
class Seen:
    """What is known of the images when some are to be chosen."""

    x: Array  # [N, d] features, centred and of length 1
    labelled: Array  # row numbers
    p: Array | None = None  # [N, K] what a model says
    committee: Array | None = None  # [M, N, K] what several say


def chosen(name: str, seen: Seen, num: int, seed: int = 0) -> Array:
    """Row numbers of `num` images by a strategy, the most wanted first; fewer where fewer are left."""
    order = named(name)(seen, num, seed)
    return apart(seen.x, order[~np.isin(order, seen.labelled)], num, seen.labelled)


def named(name: str) -> "Strategy":
    if name not in STRATEGIES:
        raise UserError(f"there is no strategy {name!r}; {nearest(name, STRATEGIES)}")
    return STRATEGIES[name]


def apart(x: Array, order: Array, num: int, taken: Array, twin: float = TWIN) -> Array:
    """The first `num` of the order of which none is a near-duplicate of another or of one taken; then, if too few are left,
    the first of the others."""
    kept: list[int] = []
    others: list[int] = []
    near = [x[taken]] if len(taken) else []
    for i in order.tolist():
        if len(kept) == num:
            break
        if any((rows @ x[i]).max() > twin for rows in near):
            others.append(i)
            continue
        kept.append(i)
        near.append(x[i][None])
    return np.array((kept + others)[:num], dtype=np.int64)


# ---- before any label ----------------------------------------------------------------------------------------------------


def at_random(n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).permutation(n)


def typical(x: Array, num: int, labelled: Array, seed: int = 0, neighbours: int = NEIGHBOURS) -> Array:
    """The most typical image of each cluster, then the second of each, and so on."""
    count = min(num + len(labelled), MOST_CLUSTERS, len(x))
    of = clusters(x, count, seed)
    size, covered = np.bincount(of, minlength=count), np.bincount(of[labelled], minlength=count)
    first = np.lexsort((-size, covered, size < SMALL))
    ranks = []
    for c in first:
        members = np.flatnonzero(of == c)
        members = members[~np.isin(members, labelled)]
        by_typicality = members[np.argsort(loneliness(x, members, np.flatnonzero(of == c), neighbours), kind="stable")]
        ranks.append(by_typicality)
    rounds = [(turn, place, i) for place, rank in enumerate(ranks) for turn, i in enumerate(rank.tolist())]
    return np.array([i for _, _, i in sorted(rounds)], dtype=np.int64)


def clusters(x: Array, count: int, seed: int) -> Array:
    """[N] which of `count` clusters each row is in: k-means in the strongest directions."""
    from sklearn.cluster import KMeans

    if count >= len(x):
        return np.arange(len(x))
    found: Array = KMeans(count, n_init=3, random_state=seed).fit_predict(strongest(x))
    return found


def strongest(x: Array, most: int = DIRECTIONS) -> Array:
    """[N, most] the rows in their strongest directions, all of them where there are no more."""
    if x.shape[1] <= most:
        return x
    some = x[:: 1 + len(x) // 10_000]
    _, vectors = np.linalg.eigh(some.T @ some)
    found: Array = x @ vectors[:, -most:]
    return found


def loneliness(x: Array, rows: Array, among: Array, neighbours: int) -> Array:
    """[len(rows)] mean distance of each row to its nearest among others."""
    if len(among) > SAMPLE:
        among = among[np.random.default_rng(0).choice(len(among), SAMPLE, replace=False)]
    k = min(neighbours, len(among) - 1)
    if k < 1:
        return np.zeros(len(rows))
    square = (x[rows] ** 2).sum(1)[:, None] - 2 * x[rows] @ x[among].T + (x[among] ** 2).sum(1)
    square[rows[:, None] == among[None]] = np.inf
    near = np.partition(square, k - 1, 1)[:, :k]
    found: Array = np.sqrt(np.maximum(near, 0)).mean(1)
    return found


def core_set(x: Array, num: int, labelled: Array) -> Array:
    """Farthest first; without a label, the image nearest to the mean begins."""
    if not len(labelled):
        begin = int(((x - x.mean(0)) ** 2).sum(1).argmin())
        found, distance = [begin], square_to(x, begin)
    else:
        found, distance = [], np.full(len(x), np.inf, x.dtype)
        for i in labelled.tolist():
            distance = np.minimum(distance, square_to(x, i))
        distance[labelled] = -1
    if found:
        distance[found] = -1
    while len(found) < min(num, len(x) - len(labelled)):
        i = int(distance.argmax())
        found.append(i)
        distance = np.minimum(distance, square_to(x, i))
        distance[i] = -1
    return np.array(found[:num], dtype=np.int64)


def square_to(x: Array, i: int) -> Array:
    found: Array = ((x - x[i]) ** 2).sum(1)
    return found


# ---- after a training ----------------------------------------------------------------------------------------------------


def least_sure(p: Array) -> Array:
    return np.argsort(p.max(1), kind="stable")


def margins(p: Array) -> Array:
    """[N] the most probable class's probability less the second's."""
    top = np.partition(p, p.shape[1] - 2, 1)[:, -2:]
    found: Array = top[:, 1] - top[:, 0]
    return found


def margin(p: Array) -> Array:
    return np.argsort(margins(p), kind="stable")


def divergence(committee: Array) -> Array:
    """[N] mean_m KL(p_m || mean of all)."""
    p = np.maximum(committee.astype(np.float64), TINY)
    found: Array = (p * np.log(p / p.mean(0))).sum(2).mean(0)
    return found


def disagreement(committee: Array) -> Array:
    return np.argsort(-divergence(committee), kind="stable")


def spread(x: Array, unsure: Array, num: int, labelled: Array, seed: int = 0) -> Array:
    """Of the most unsure (`unsure` [N] is higher) one near each weighted centre, the most unsure first; then the rest."""
    from sklearn.cluster import KMeans

    free = np.setdiff1d(np.arange(len(x)), labelled)
    widest = free[np.argsort(-unsure[free], kind="stable")]
    wider = widest[: WIDER * num]
    # half as unsure as the last that would be taken without a spread, or more: else, it would bring in what is sure
    wider = wider[unsure[wider] >= unsure[wider[:num][-1:]].sum() / 2]
    if len(wider) <= num:
        return widest
    rows = strongest(x)[wider]
    made = KMeans(num, n_init=3, random_state=seed).fit(rows, sample_weight=np.maximum(unsure[wider], TINY))
    distance = made.transform(rows)
    picks = {int(wider[distance[:, c].argmin()]) for c in range(num)}
    first = [i for i in widest.tolist() if i in picks]
    rest = [i for i in widest.tolist() if i not in picks]
    return np.array(first + rest, dtype=np.int64)


# ---- by name -------------------------------------------------------------------------------------------------------------

Strategy = Callable[[Seen, int, int], Array]


def said(seen: Seen) -> Array:
    """The probabilities, which some strategies cannot do without."""
    if seen.p is None:
        raise UserError("this strategy asks what a model says: take --strategy typical, or give the folder of a run")
    return seen.p


def of_several(seen: Seen) -> Array:
    if seen.committee is None or len(seen.committee) < 2:
        raise UserError(
            "disagreement is between the networks of a run that has two or more, such as one of dnll or ccn: take "
            "--strategy spread"
        )
    return seen.committee


STRATEGIES: dict[str, Strategy] = {
    "random": lambda seen, num, seed: at_random(len(seen.x), seed),
    "typical": lambda seen, num, seed: typical(seen.x, num, seen.labelled, seed),
    "least-sure": lambda seen, num, seed: least_sure(said(seen)),
    "margin": lambda seen, num, seed: margin(said(seen)),
    "core-set": lambda seen, num, seed: core_set(seen.x, num, seen.labelled),
    "disagreement": lambda seen, num, seed: disagreement(of_several(seen)),
    "spread": lambda seen, num, seed: spread(seen.x, 1 - margins(said(seen)), num, seen.labelled, seed),
}
