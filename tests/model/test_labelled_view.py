"""The view of labelled images: the weak one, unless --labelled names another."""

import pytest
import torch
from torch import Tensor

from halfseen.method import Method
from tests.toy import make_trainer


def seen_by(method: str, policies: tuple[str, ...]) -> list[tuple[str, int]]:
    """(view, rows) of each call within one step."""
    trainer = make_trainer(method, data="digits", net="small", steps=1, batch=(8, 16), policies=policies)
    made, calls = trainer.method, []
    assert isinstance(made, Method)
    for name in ("weak", "strong", "labelled_view"):

        def noted(x: Tensor, name: str = name, view: object = getattr(made, name)) -> Tensor:
            calls.append((name, len(x)))
            assert callable(view)
            return torch.as_tensor(view(x))

        setattr(made, name, noted)
    trainer.run()
    return calls


@pytest.mark.parametrize("method", ["supervised", "fixmatch", "dnll", "mean_teacher", "vat", "ccn"])
def test_labelled_images_have_a_view_of_their_own(method: str) -> None:
    calls = seen_by(method, ("affine", "affine+noise", "none"))
    assert {name for name, rows in calls if rows == 8} == {"labelled_view"}
    assert all(rows == 8 for name, rows in calls if name == "labelled_view")


def test_without_a_name_it_is_the_weak_one() -> None:
    method = make_trainer("fixmatch", data="digits", net="small", policies=("affine", "noise")).method
    assert method.labelled_view is method.weak
    other = make_trainer("fixmatch", data="digits", net="small", policies=("affine", "noise", "none")).method
    x = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(other.labelled_view(x), other.task.view("none")(x))
    assert not torch.equal(other.weak(x), other.task.view("none")(x))
