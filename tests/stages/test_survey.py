"""What a method asks of the data whatever its budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from bench.contract.errors import BenchError
from bench.stages.survey import survey


@dataclass(frozen=True)
class Gives:
    """It gives what the test wants."""

    name: str = "gives"

    def survey(self, task: Any) -> Any:
        return task


def test_what_it_gives_are_tensors_by_name() -> None:
    given = torch.rand(3, 2).T
    found = survey(Gives(), {"losses": given})
    assert torch.equal(found["losses"], given)
    assert found["losses"].is_contiguous()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.ones(2), r"survey\(\) of gives returned Tensor; expected a dict of tensors by name"),
        ({"losses": 3.0}, "returned dict; expected a dict of tensors by name"),
        ({"losses": torch.tensor([1.0, torch.nan])}, "of gives: losses is NaN or infinite"),
    ],
)
def test_what_else_it_gives_is_refused_in_a_sentence(given: Any, said: str) -> None:
    with pytest.raises(BenchError, match=said):
        survey(Gives(), given)
