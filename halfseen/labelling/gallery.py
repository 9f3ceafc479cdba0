"""A list of suggestions as one page with their pictures, for a browser without a network."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from halfseen.errors import UserError
from halfseen.labelling.pictures import SIDES, shown
from halfseen.machine.files import write_bytes
from halfseen.suggest.choose import Suggestion

STYLE = (
    "body { font: 15px/1.4 system-ui, sans-serif; margin: 24px auto; max-width: 1100px; padding: 0 16px; }"
    "main { display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 20px; }"
    "figure { margin: 0; overflow-wrap: anywhere; } img { max-width: 100%; } small { color: #666; }"
)


def write_gallery(out: Path, title: str, found: Sequence[Suggestion], folder: Path) -> None:
    figures = "\n".join(figure(place, s, folder) for place, s in enumerate(found, 1))
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1><main>\n{figures}\n</main></body></html>\n"
    )
    write_bytes(out, page.encode(errors="backslashreplace"))  # a file name need not be UTF-8


def figure(place: int, s: Suggestion, folder: Path) -> str:
    try:
        payload, kind = shown(folder / s.path, SIDES[0])
        picture = f'<img alt="" src="data:{kind};base64,{base64.b64encode(payload).decode()}">'
    except UserError as e:
        picture = f"<p>{html.escape(str(e))}</p>"
    guess = f"{html.escape(s.guess)} {s.confidence:.0%}" if s.confidence is not None else html.escape(s.guess)
    said = f"{place}. {html.escape(s.why)}<br>looks like {guess}<br><small>{html.escape(s.path)}</small>"
    return f"<figure>{picture}<figcaption>{said}</figcaption></figure>"
