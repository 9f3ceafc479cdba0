"""Copy what a comparison found into results/: its table, and the metrics of each of its runs.

    python scripts/keep_results.py runs/mnist-small results/mnist-small

`halfseen reproduce --queue` does it by itself; halfseen/grid/keep.py says what is kept. With --curves the test accuracy
at every evaluation is kept too, as CURVES.json and a picture, CURVES.svg, where the runs had --test-curve.
"""

import argparse
from pathlib import Path

from halfseen.errors import guarded
from halfseen.grid.keep import keep_table

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("place", type=Path)
    parser.add_argument("--curves", action="store_true")
    told = parser.parse_args()
    guarded(lambda: print(f"{keep_table(told.runs, told.place, told.curves)} runs kept in {told.place}"))
