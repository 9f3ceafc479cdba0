"""The examples run, are as short as they promise, and show what they say."""

import re
import subprocess
import sys
from pathlib import Path

BY_HAND = Path(__file__).parent.parent / "examples" / "by_hand.py"


def test_fixmatch_by_hand_gains_from_the_unlabelled_digits() -> None:
    done = subprocess.run([sys.executable, str(BY_HAND)], capture_output=True, text=True, check=True, timeout=300)
    alone, both = (float(n) for n in re.findall(r"([\d.]+)%", done.stdout))
    assert both > alone + 3
    assert both > 85


def test_it_is_a_plain_loop_over_the_parts() -> None:
    text = BY_HAND.read_text()
    assert len(text.splitlines()) <= 50
    rooms = set(re.findall(r"^from halfseen\.(\w+)", text, re.M))
    assert rooms == {"augment", "data", "draws", "nets", "parts"}
