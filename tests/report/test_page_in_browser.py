"""The page as a phone shows it: headless Chromium, where it is, says whether anything sticks out."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from halfseen.commands.train import train

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# in a body of the width asked for (a window is no narrower than 500): of each text in a chart how far it sticks out of it,
# and what else goes beyond the body
MEASURE = """<script>
document.body.style.width = "WIDTHpx";
const out = [...document.querySelectorAll(".chart > svg")].flatMap(svg => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].map(text => {
    const t = text.getBoundingClientRect();
    const beyond = Math.max(box.left - t.left, t.right - box.right, box.top - t.top, t.bottom - box.bottom);
    return [text.textContent, beyond];
  });
});
const beyond = [...document.querySelectorAll("main *")].filter(e => !e.closest(".scroll table"))
  .filter(e => e.getBoundingClientRect().right > WIDTH).map(e => e.outerHTML.slice(0, 200));
document.body.innerHTML = "<pre id=told>" + encodeURIComponent(JSON.stringify([beyond, out])) + "</pre>";
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (apt-get install chromium)")
@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_cut_off(width: int, tmp_path: Path) -> None:
    run = train(
        "digits", method="fixmatch", labels_per_class=12, steps=12, batch=8, unlabelled_batch=16, log_every=4, eval_every=4,
        test_curve=True, threads=1, quiet=True, overrides={"method.tau": 0.2}, out=tmp_path / "run",
    ).folder  # fmt: skip
    page = tmp_path / "page.html"
    text = (run / "report.html").read_text()
    assert text.count("</body>") == 1
    page.write_text(text.replace("</body>", MEASURE.replace("WIDTH", str(width))))
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={max(500, width)},900"]
    words += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    beyond, texts = json.loads(unquote(re.search(r'<pre id="told">([^<]*)<', shown)[1]))
    assert beyond == []
    assert len(texts) > 100
    assert [(what, out) for what, out in texts if out > 1] == []
