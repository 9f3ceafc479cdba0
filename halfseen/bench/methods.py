"""What a step of one method costs over a step of another: the same network, images and rows, in one process, in turn."""

from collections.abc import Mapping

from halfseen.bench.rows import Bench, Row
from halfseen.bench.subject import Subject
from halfseen.bench.timing import ratio, timed


def steps_of(bench: Bench, subjects: Mapping[str, Subject], passes: Mapping[str, int]) -> list[Row]:
    """A row for each method, over the first one. passes: images through a network in a step, by method."""
    runs = {name: timed(subject.step, bench.device, bench.times) for name, subject in subjects.items()}
    seconds = bench.in_turn(runs, bench.sizes.rounds)
    first = next(iter(subjects))
    rows = []
    for name, subject in subjects.items():
        trainer, case = subject.trainer, subject.case
        stage = f", its stage {trainer.stage.name}" if len(trainer.stages) > 1 else ""
        says = f"a step of {name}{stage} over one of {first}: {case.net}, {case.size}; {passes[name]:,} passes"
        value = ratio(seconds[name], seconds[first])
        rows.append(
            Row(f"method/{name}", value, "x", says, seconds={k: seconds[k] for k in dict.fromkeys((first, name))})
        )
    return rows
