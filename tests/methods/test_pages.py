"""Every method has a page: equations, what is logged, every setting, departures, a command, and what public code says."""

import dataclasses
import re
from pathlib import Path

import pytest

from halfseen import methods

PAGES = Path(__file__).parent.parent.parent / "docs" / "methods"
SECTIONS = ("## What is logged", "## Settings", "## Command")
NO_CODE = {"supervised", "ccn", "commatch"}  # a baseline; methods of which no public code was found


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text()


def test_there_is_no_page_without_a_method() -> None:
    assert {p.stem for p in PAGES.glob("*.md")} == set(methods.names())


@pytest.mark.parametrize("name", methods.names())
def test_a_page_is_whole(name: str) -> None:
    text = page(name)
    assert text.startswith(f"# {name}\n")
    assert re.search(r"## (Equations|Objects)", text)
    for section in SECTIONS:
        assert section in text, section
    assert re.search(r"## (Departures|Points where)", text)
    assert re.search(r"## (Result|What was)", text)
    assert f"halfseen/methods/{name}.py" in text


@pytest.mark.parametrize("name", methods.names())
def test_every_setting_is_on_the_page(name: str) -> None:
    text = page(name)
    for field in dataclasses.fields(methods.load(name).config):
        if not dataclasses.is_dataclass(getattr(methods.load(name).config(), field.name)):
            assert re.search(rf"`[^`]*\b{field.name}\b[^`]*`", text), (
                f"the page of {name} does not explain {field.name}"
            )


@pytest.mark.parametrize("name", sorted({*methods.names()} - NO_CODE))
def test_the_page_says_what_public_code_agrees(name: str) -> None:
    text = page(name)
    repository = r"[A-Za-z][\w-]+/[A-Za-z][\w.-]+(?=[:`,) ;.]|'s)|TorchSSL|released code|release's"
    assert re.search(repository, text), "no repository"
    assert re.search(r"agree|differ|not published|do not|the release", text)
