"""The tree tells the architecture: which way imports run, what each room may hold, and that the README names it all."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from halfseen.cli import COMMANDS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "halfseen"
FILES = sorted(PACKAGE.rglob("*.py"))
TOP = {
    "__init__.py",
    "__main__.py",
    "cli.py",
    "draws.py",
    "errors.py",
    "method.py",
    "optim.py",
    "overrides.py",
    "settings.py",
}
# from the top down: a room may import from those below its line, and from nothing on it
LEVELS = (
    ("cli",),
    ("commands",),
    ("grid",),
    ("estimator", "theory"),
    ("report", "labelling"),
    ("suggest",),
    ("run", "bench"),
    ("model",),
    ("methods", "training"),
    ("method",),
    ("optim",),
    ("parts", "recipes", "data"),
    ("nets", "backbones", "probes", "augment", "settings"),
    ("machine",),
    ("overrides", "draws"),
    ("errors",),
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
LONGEST = 350  # lines; cli.py is a list of everything that can be typed
FINAL = ("Session", "Recorder", "Trainer", "Model")
USED_BY_TESTS_ALONE = {
    "te_rate": "Temporal Ensembling's learning rate, which its method will take",
    "te_beta1": "and its Adam's beta",
    "cosine_from_one": "Dual Student's own schedule, for its own protocol",
    "network_eps": "the one place that converts VAT's eps between scales",
    "Radius": "of network_eps",
    "RADII": "of network_eps",
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Modules of this package that a file imports, anywhere in it: a lazy import is an import."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "halfseen":
            found |= {f"{node.module}.{name.name}" for name in node.names}
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.startswith("halfseen.")}
    return {name.removeprefix("halfseen.") for name in found}


def rooms_of(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)} - {"__version__", room(path)}


def test_every_room_has_a_level() -> None:
    assert {room(path) for path in FILES} - {"__init__", "__main__"} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_down(path: Path) -> None:
    if path in (PACKAGE / "__init__.py", PACKAGE / "__main__.py"):  # the front doors point up, when they are opened
        return
    up = {other for other in rooms_of(path) if LEVEL[other] <= LEVEL[room(path)]}
    assert not up, f"{path.name} may not import {up}"


def test_a_room_has_no_circle_in_it() -> None:
    graph = {}
    for path in FILES:
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = imports(path)
    known = set(graph)

    def modules(names: set[str]) -> set[str]:
        """The modules behind imported names; a module's own package is not counted, since python opens it anyway."""
        return {n if n in known else n.rpartition(".")[0] for n in names} & known

    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, f"a circle: {' > '.join((*trail, name))}"
        if state.get(name) == 2 or name == "__init__":
            return
        state[name] = 1
        for other in sorted(modules(graph[name]) - {name}):
            visit(other, (*trail, name))
        state[name] = 2

    for name in sorted(known):
        visit(name, ())


def test_commands_are_the_words_of_the_command_line() -> None:
    files = {p.stem for p in (PACKAGE / "commands").glob("*.py")} - {"__init__"}
    assert files == set(COMMANDS)
    body = ast.parse((PACKAGE / "commands" / "__init__.py").read_text()).body
    assert len(body) == 1, "commands/__init__.py holds its sentence and no code: a submodule there is called list"


def test_methods_and_parts_know_nothing_of_the_loop() -> None:
    for path in FILES:
        if room(path) in ("methods", "parts"):
            assert not rooms_of(path) & {"training", "run", "data", "commands"}, path
        if room(path) == "methods" and path.name != "__init__.py":
            assert "machine" not in rooms_of(path), path


def test_recipes_are_data() -> None:
    for path in FILES:
        if room(path) == "recipes":
            assert rooms_of(path) <= {"settings"}, path


def test_what_is_final_has_no_heirs() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = {b.id for b in node.bases if isinstance(b, ast.Name)}
                assert not bases & set(FINAL), f"{path}: {node.name} is a subclass of {bases}"


def test_the_top_level_is_nine_files_and_rooms() -> None:
    assert {p.name for p in PACKAGE.glob("*.py")} == TOP
    others = {p.name for p in PACKAGE.iterdir() if p.is_file()} - TOP
    assert others == {"py.typed"}
    for path in FILES:
        assert len(path.relative_to(PACKAGE).parts) <= 2, f"{path} lies too deep"
        lines = len(path.read_text().splitlines())
        assert lines <= LONGEST or path.name == "cli.py", f"{path} has {lines} lines: could it be two?"
    for folder in {path.parent for path in FILES}:
        doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert doc, f"{folder} has no sentence in its __init__.py"


def test_the_readme_names_every_room() -> None:
    tree = (ROOT / "README.md").read_text().partition("## The tree")[2]
    for path in PACKAGE.iterdir():
        if (path.is_dir() and path.name != "__pycache__") or path.suffix == ".py":
            assert re.search(rf"\s{re.escape(path.name)}/?\s", tree), f"the tree does not name {path.name}"
    for folder in ("run", "model", "training", "commands"):
        for path in (PACKAGE / folder).glob("*.py"):
            if path.name != "__init__.py":
                assert re.search(rf"\b{path.stem}\b", tree), f"the tree does not name {folder}/{path.name}"


def defined(path: Path) -> set[str]:
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.Assign):
            found |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return {name for name in found if not name.startswith("__")}


def test_nothing_is_there_for_tests_alone() -> None:
    words = Counter()
    for path in [*FILES, *(ROOT / "scripts").glob("*.py"), *(ROOT / "examples").glob("*.py")]:
        words.update(re.findall(r"\w+", path.read_text()))
    doors = {"SemiSupervisedClassifier", "RECIPES", "Config"}  # asked for by name
    methods = {name for path in FILES if room(path) == "methods" for name in defined(path)}
    alone = {
        f"{path.relative_to(PACKAGE)}: {name}": name
        for path in FILES
        for name in defined(path) - doors - methods
        if words[name] < 2
    }
    unknown = {place for place, name in alone.items() if name not in USED_BY_TESTS_ALONE}
    assert not unknown
