"""Which methods the contract suite is about: all of the package, or the one of --method."""

from pathlib import Path

import pytest

from halfseen import methods
from tests.contract.cases import is_aligned


def chosen(config: pytest.Config) -> list[str]:
    given = config.getoption("--method")
    if given is None:
        return methods.names()
    file, colon, own = given.partition(":")
    return [f"{Path(file).resolve()}{colon}{own}" if file.endswith(".py") else given]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture in ("name", "aligned_name"):
        if fixture in metafunc.fixturenames:
            names = [n for n in chosen(metafunc.config) if fixture == "name" or is_aligned(n)]
            metafunc.parametrize(fixture, names)


@pytest.fixture(scope="session")
def all_names(request: pytest.FixtureRequest) -> list[str]:
    return chosen(request.config)
