"""The early exit: the same numbers as the whole pass for whoever goes on, its own for the others, and its file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from csrm.errors import BundleError
from csrm.scoring.exit import ExitHead, read_exit
from csrm.scoring.lean import LeanGemma3Engine
from csrm.scoring.library import LibraryEngine
from csrm.scoring.walk import Walked, label_logits, through, walk

LABELS = (259, 260, 261, 262)
PREFIX = [1, 20, 30, 40, 50]
PRODUCTS = [[60, 70, 80], [90], [100] * 40, [60, 70, 81], [33, 44], list(range(30, 80))]
EXIT_LAYER = 2


def head(seed: int = 3) -> ExitHead:
    torch.manual_seed(seed)
    return ExitHead(EXIT_LAYER, 1 + torch.rand(32), torch.randn(4, 32))


@pytest.fixture
def engine(tiny_bases: dict[str, Path]) -> LeanGemma3Engine:
    model = AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"], dtype=torch.float32).eval()
    lean = LeanGemma3Engine(model, LABELS, torch.float32)
    lean.add_exit(head())
    return lean


@pytest.fixture
def plain(tiny_bases: dict[str, Path]) -> tuple[np.ndarray, np.ndarray]:
    """Logits by the exit and by all layers, of one whole row at a time through the library's model."""
    model = AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"], dtype=torch.float32).eval()
    exit_head, early, full = head(), [], []
    for product in PRODUCTS:
        with torch.inference_mode():
            out = model(torch.tensor([PREFIX + product]), output_hidden_states=True)
        hidden = out.hidden_states[EXIT_LAYER][0, -1]
        early.append(F.rms_norm(hidden, (32,), exit_head.norm, model.config.rms_norm_eps) @ exit_head.rows.T)
        full.append(out.logits[0, -1, list(LABELS)])
    return torch.stack(early).numpy(), torch.stack(full).numpy()


def cascade(engine: LeanGemma3Engine, go_on: Callable[[np.ndarray], list[int]], **options: bool) -> Walked:
    return through(walk(engine, PREFIX, PRODUCTS, early=range(len(PRODUCTS)), go_on=go_on, **options))


def test_who_goes_on_has_the_numbers_of_the_whole_pass(
    engine: LeanGemma3Engine, plain: tuple[np.ndarray, np.ndarray]
) -> None:
    alone = label_logits(engine, PREFIX, PRODUCTS)
    found = cascade(engine, lambda early: [4, 2, 5])
    assert found.early == pytest.approx(plain[0], abs=1e-4)
    assert found.full[[2, 4, 5]] == pytest.approx(plain[1][[2, 4, 5]], abs=1e-4)
    assert found.full[[2, 4, 5]] == pytest.approx(alone[[2, 4, 5]], abs=1e-6)
    assert np.isnan(found.full[[0, 1, 3]]).all()


def test_the_exit_alone_gives_the_same_early_numbers(
    engine: LeanGemma3Engine, plain: tuple[np.ndarray, np.ndarray]
) -> None:
    found = cascade(engine, lambda early: [], keep=False)
    assert found.early == pytest.approx(plain[0], abs=1e-4)
    assert np.isnan(found.full).all()


def test_the_prefix_runs_through_its_later_layers_only_when_a_product_does(engine: LeanGemma3Engine) -> None:
    cascade(engine, lambda early: [])
    assert len(engine.prefix(PREFIX).layers) == EXIT_LAYER
    cascade(engine, lambda early: [0])
    assert len(engine.prefix(PREFIX).layers) == engine.layers == 3


def test_products_that_were_judged_early_before_go_on_beside_others(
    engine: LeanGemma3Engine, plain: tuple[np.ndarray, np.ndarray]
) -> None:
    """Their residuals are gone; they are run from the start, in one batch with those that have theirs."""
    found = through(walk(engine, PREFIX, PRODUCTS, early=[0, 3], go_on=lambda early: [0, 1, 2]))
    assert found.full[:3] == pytest.approx(plain[1][:3], abs=1e-4)
    assert np.isnan(found.early[[4, 5]]).all()


def test_the_exit_sees_nothing_of_its_neighbours_in_a_batch(engine: LeanGemma3Engine) -> None:
    together = cascade(engine, lambda early: []).early
    for row, product in enumerate(PRODUCTS):
        alone = through(walk(engine, PREFIX, [product], early=[0], go_on=lambda early: [])).early
        assert alone[0] == pytest.approx(together[row], abs=1e-5)


def test_the_library_path_has_no_exit(tiny_bases: dict[str, Path]) -> None:
    engine = LibraryEngine(AutoModelForCausalLM.from_pretrained(tiny_bases["gemma3"]).eval(), LABELS)
    assert engine.exit_layer is None


GOOD = {"norm": torch.ones(32), "rows": torch.ones(4, 32)}


@pytest.mark.parametrize(
    ("tensors", "layer", "named"),
    [
        (GOOD, 3, "exit.layer is 3"),
        ({"norm": GOOD["norm"]}, 2, "rows: missing"),
        (GOOD | {"norm": torch.ones(16)}, 2, r"norm: \(16,\)"),
        (GOOD | {"rows": torch.ones(2, 32)}, 2, r"rows: \(2, 32\)"),
        (GOOD | {"rows": torch.full((4, 32), float("nan"))}, 2, "no number"),
        (None, 2, "cannot be read"),
    ],
)
def test_a_wrong_head_is_named(
    tensors: dict[str, torch.Tensor] | None, layer: int, named: str, tmp_path: Path
) -> None:
    file = tmp_path / "exit.safetensors"
    if tensors is None:
        file.write_bytes(b"\x00" * 40)
    else:
        save_file(tensors, file)
    with pytest.raises(BundleError, match=named):
        read_exit(file, layer, hidden=32, layers=3, device=torch.device("cpu"))


def test_a_head_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        read_exit(tmp_path / "exit.safetensors", 2, hidden=32, layers=3, device=torch.device("cpu"))
