"""Which methods the contract suite is about: all of the package, or the one of --method."""

from pathlib import Path

import pytest

from halfseen import methods
from tests.contract.first_steps import problems


def chosen(config: pytest.Config) -> list[str]:
    given = config.getoption("--method")
    if given is None:
        return methods.names()
    file, colon, own = given.partition(":")
    return [f"{Path(file).resolve()}{colon}{own}" if file.endswith(".py") else given]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "problem" in metafunc.fixturenames:
        pairs = [(name, problem) for name in chosen(metafunc.config) for problem in problems(name)]
        metafunc.parametrize(("name", "problem"), pairs)
        return
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", chosen(metafunc.config))


@pytest.fixture(scope="session")
def all_names(request: pytest.FixtureRequest) -> list[str]:
    return chosen(request.config)
