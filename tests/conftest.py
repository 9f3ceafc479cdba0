"""`pytest tests/contract --method my_method.py`: the contract suite on one method, by its file or its name."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--method",
        metavar="FILE.py",
        help='only this method in tests/contract: a file, a name, or either with settings, as "my_method.py:tau=0.5"',
    )
