"""What a recipe may ask of hardware changes time and memory, and not what is learnt."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from csrm.errors import InputError, MissingExtraError
from csrm.training import relevance, translation
from csrm.training.recipe import Recipe
from csrm.training.run import train
from csrm.training.trainer import Trainer

Settings = dict[str, Any]
GRADES = [(1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.5, 0.5), (1.0, 0.0, 1.0, 1.0)]


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):  # compiling takes longer than all of it
        yield


def learnt(
    settings: Settings, base: Path, hardware: Settings
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Losses and gradients of both tasks on rows of very different lengths."""
    trainer = Trainer(
        Recipe.model_validate(settings | {"base": str(base), "hardware": hardware}), device="cpu"
    )
    torch.manual_seed(1)
    with torch.no_grad():  # an adapter that is not empty
        for parameter in trainer.parameters:
            parameter.normal_(std=0.05)
    lengths = [5, 61, 1, 17, 40]
    rows = [torch.randint(3, 200, (length,)).tolist() for length in lengths]
    examples = [relevance.Example(ids, GRADES[i % 3]) for i, ids in enumerate(rows)]
    texts = [translation.Example(ids, max(1, len(ids) // 3)) for ids in rows if len(ids) > 4]
    vocabulary = torch.tensor(translation.vocabulary(texts))
    losses, gradients = {}, {}
    for task, loss in (
        ("relevance", lambda: trainer._relevance_loss(examples)),
        ("translation", lambda: trainer._translation_loss(texts, vocabulary)),
    ):
        value = loss()
        value.backward()
        losses[task] = value.item()
        gradients[task] = torch.cat([p.grad.flatten() for p in trainer.parameters if p.grad is not None])
        for parameter in trainer.parameters:
            parameter.grad = None
    return losses, gradients


def assert_alike(one: Any, other: Any, rounding: float) -> None:
    for task in ("relevance", "translation"):
        assert one[0][task] == pytest.approx(other[0][task], rel=rounding)
        a, b = one[1][task], other[1][task]
        assert a.norm() > 0
        assert (a - b).norm() <= rounding * a.norm()


@pytest.mark.parametrize("kind", ["gemma3", "qwen3"])
def test_activations_that_are_computed_again_are_the_same(
    kind: str, settings: Settings, tiny_bases: dict[str, Path]
) -> None:
    kept = learnt(settings, tiny_bases[kind], {})
    again = learnt(settings, tiny_bases[kind], {"checkpointing": True})
    assert_alike(kept, again, 1e-6)


@pytest.mark.parametrize("kind", ["gemma3", "qwen3", "llama"])
def test_rows_without_padding_give_what_padded_rows_give(
    kind: str, settings: Settings, tiny_bases: dict[str, Path]
) -> None:
    padded = learnt(settings, tiny_bases[kind], {})
    packed = learnt(settings, tiny_bases[kind], {"packed": True})
    assert_alike(padded, packed, 0.05)  # of bf16; Gemma's lean pass rounds elsewhere
    both = learnt(settings, tiny_bases[kind], {"packed": True, "checkpointing": True})
    assert_alike(packed, both, 1e-6)


def test_packed_rows_do_not_see_each_other(settings: Settings, tiny_bases: dict[str, Path]) -> None:
    recipe = Recipe.model_validate(
        settings | {"base": str(tiny_bases["qwen3"]), "hardware": {"packed": True}}
    )
    trainer = Trainer(recipe, device="cpu")
    own = relevance.Example(list(range(3, 30)), GRADES[0])
    alone, _ = trainer.grades([own])
    for other in ([7] * 5, [9] * 50):
        beside, _ = trainer.grades([relevance.Example(other, GRADES[0]), own])
        assert beside[1] == pytest.approx(alone[0], abs=5e-3)


def test_activations_are_not_kept(settings: Settings, tiny_bases: dict[str, Path]) -> None:
    def kept(base: Path, checkpointing: bool) -> int:
        hardware = {"checkpointing": checkpointing}
        trainer = Trainer(
            Recipe.model_validate(settings | {"base": str(base), "hardware": hardware}), device="cpu"
        )
        weights = {p.data_ptr() for p in trainer.model.parameters()}
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.data_ptr() not in weights:
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            trainer._relevance_loss([relevance.Example([5] * 200, GRADES[0])] * 8)
        return sum(sizes.values())

    for kind in ("gemma3", "qwen3"):
        assert kept(tiny_bases[kind], True) < 0.5 * kept(tiny_bases[kind], False)


def test_a_packed_training_runs_from_recipe_to_adapter(
    settings: Settings, tmp_path: Path, tiny_bases: dict[str, Path]
) -> None:
    hardware = {"packed": True, "checkpointing": True}
    recipe = Recipe.model_validate(settings | {"base": str(tiny_bases["qwen3"]), "hardware": hardware})
    assert (train(recipe, tmp_path / "run", [tmp_path]) / "adapter_model.safetensors").is_file()


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_a_base_in_four_bits_names_the_extra(settings: Settings) -> None:
    with pytest.raises(MissingExtraError, match=r"csrm-opensearch\[four-bit\]"):
        Trainer(Recipe.model_validate(settings | {"hardware": {"four_bit": True}}))


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_a_base_in_four_bits_learns_nearly_the_same(settings: Settings, tiny_bases: dict[str, Path]) -> None:
    whole = learnt(settings, tiny_bases["qwen3"], {})
    small = learnt(settings, tiny_bases["qwen3"], {"four_bit": True, "packed": True, "checkpointing": True})
    for task in ("relevance", "translation"):
        assert small[0][task] == pytest.approx(whole[0][task], rel=0.1)
        assert torch.cosine_similarity(small[1][task], whole[1][task], dim=0) > 0.8


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash-attn is installed")
def test_flash_attention_names_its_package(settings: Settings) -> None:
    with pytest.raises(InputError, match=r"hardware\.attention: .* flash-attn"):
        Trainer(Recipe.model_validate(settings | {"hardware": {"attention": "flash_attention_2"}}))


def test_an_exit_is_not_packed(settings: Settings, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(settings | {"exit": {"layer": 1}, "hardware": {"packed": True}})
    with pytest.raises(InputError, match="exit: only Gemma 3 bases can be trained with an early exit"):
        train(recipe, tmp_path / "run", [tmp_path])


class Products(TorchDispatchMode):
    """Notes the number formats of what is multiplied as matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.formats: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm):
            self.formats |= {arg.dtype for arg in args if isinstance(arg, torch.Tensor)}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("hardware", [{}, {"packed": True}])
@pytest.mark.parametrize(
    ("lacking", "expected"), [(None, torch.bfloat16), ("this CPU has no AVX-512", torch.float32)]
)
def test_nothing_waits_for_bf16_where_a_cpu_has_none(
    settings: Settings,
    tiny_bases: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    hardware: Settings,
    lacking: str | None,
    expected: torch.dtype,
) -> None:
    monkeypatch.setattr("csrm.training.trainer.lacking_bf16", lambda device: lacking)
    with Products() as products:
        learnt(settings, tiny_bases["gemma3"], hardware)
    assert expected in products.formats
    if lacking:
        assert products.formats == {torch.float32}
