"""The loss of grades against a count by hand, and how annotators lean."""

from __future__ import annotations

import math

import pytest
import torch

from csrm.training.heads import Annotators
from csrm.training.relevance import loss


def test_one_grade_several_and_a_distribution_each_count_as_said() -> None:
    shares = torch.tensor([[0.5, 0.2, 0.2, 0.1]])
    for target, said in (
        ([0, 1, 0, 0], -math.log(0.2)),
        ([0, 1, 0, 1], -math.log(0.2 + 0.1)),  # one of the two, whichever
        ([1, 0, 1, 1], -math.log(0.5 + 0.2 + 0.1)),
        ([0.75, 0, 0, 0.25], -0.75 * math.log(0.5) - 0.25 * math.log(0.1)),
    ):
        assert float(loss(shares.log(), torch.tensor([target], dtype=torch.float32))) == pytest.approx(said)


def test_an_annotator_has_an_offset_of_its_own_and_humans_have_none() -> None:
    lean = Annotators(["model", "human", "author", "model"])
    with torch.no_grad():
        lean.offsets.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 2.0, 0, 0]]))  # author, model
    found = lean(["model", "human", "author", "unheard of"])
    assert found.tolist() == [[0, 2, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    found.sum().backward()
    assert lean.offsets.grad is not None
    assert lean.offsets.grad.tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]  # humans and strangers teach no leaning
