"""Every scorer by its name, on tiny models and the real embedding engine; what is none is told so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from csrm.errors import BundleError, InputError
from csrm.evaluation.grading import wrong_knowledge
from csrm.evaluation.scorers import load_scorer
from csrm.evaluation.scores import Scores
from csrm.knowledge import KnowledgeSnapshot, TermEntry, load_embedder
from csrm.model import RelevanceModel
from csrm.scoring.load import lacking
from csrm.training.data import LabelledPair
from csrm.wire import Level

ROWS = [
    LabelledPair(query=query, title=title, label="E", locale=locale)
    for query, title, locale in (
        ("wireless mouse", "Wireless optical mouse, black", "en"),
        ("wireless mouse", "Garden gnome with lantern", "en"),
        ("무선 마우스", "로지텍 무선마우스 블랙", "ko"),
        ("무선 마우스", "정원용 난쟁이 조각상", "ko"),
    )
]

NOTES = {"airpods": "earphones without a cord", "gnome": "a figure for the garden"}


def scores(what: str, **options: object) -> Scores:
    return load_scorer(what, **options).score(ROWS, lambda count: None)  # type: ignore[arg-type]


@pytest.fixture
def bundle(tmp_path: Path, tiny_bases: dict[str, Path]) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    manifest = {"name": "tiny", "version": 3, "base": str(tiny_bases["gemma3"])}
    made = manifest | {"threshold": 0.5, "calibration": {"slope": 2.0, "offset": 1.0}}
    (folder / "bundle.json").write_text(json.dumps(made))
    return folder


@pytest.fixture
def with_exit(bundle: Path) -> Path:
    """The bundle with an early exit, whose rule sends half of the rows on."""
    own = torch.Generator().manual_seed(5)
    head = {"norm": 1 + torch.rand(32, generator=own), "rows": torch.randn(4, 32, generator=own)}
    save_file(head, bundle / "exit.safetensors")
    manifest = json.loads((bundle / "bundle.json").read_text())
    early = {"layer": 1, "calibration": {"slope": 0.5, "offset": 0.25}, "threshold": 0.8}
    (bundle / "bundle.json").write_text(json.dumps(manifest | {"exit": early}))
    irrelevance = scores(str(bundle), level="fast").irrelevance
    distance = np.abs(np.log(irrelevance / (1 - irrelevance)) - np.log(0.5 / 0.5))
    margin = float(np.median(distance))
    early["rule"] = {"below": margin, "above": margin, "page": 10}
    (bundle / "bundle.json").write_text(json.dumps(manifest | {"exit": early}))
    return bundle


def test_a_level_has_its_own_irrelevance_and_thresholds(with_exit: Path) -> None:
    fast, balanced, full = (scores(str(with_exit), level=level) for level in ("fast", "balanced", "full"))
    assert fast.thresholds is not None and balanced.thresholds is not None
    assert (set(fast.thresholds), set(balanced.thresholds)) == ({0.8}, {0.5})
    by_all = balanced.by_all
    assert by_all is not None and fast.by_all is not None and full.by_all is not None
    assert (fast.by_all.mean(), balanced.by_all.mean(), full.by_all.mean()) == (0, 0.5, 1)
    assert not np.allclose(fast.irrelevance, full.irrelevance)
    mixed = np.where(by_all, full.irrelevance, fast.irrelevance)
    assert balanced.irrelevance == pytest.approx(mixed, abs=1e-5)


@pytest.mark.parametrize("level", ["fast", "balanced", "full"])
def test_a_level_says_what_the_model_says_in_serving(with_exit: Path, level: Level) -> None:
    """But for the page's contenders: where there are none, row by row the same."""
    manifest = json.loads((with_exit / "bundle.json").read_text())
    manifest["exit"]["rule"]["page"] = 0
    manifest["thresholds"], manifest["calibrations"] = {"ko": 0.6}, {"ko": {"slope": 0.5, "offset": 0.5}}
    manifest["exit"]["calibrations"] = {"ko": {"slope": 2.0, "offset": -0.1}}
    (with_exit / "bundle.json").write_text(json.dumps(manifest))
    found = scores(str(with_exit), level=level)
    model = RelevanceModel.load(with_exit)
    judged = [model.judge(row.query, [row.title], locale=row.locale, level=level) for row in ROWS]
    assert found.irrelevance == pytest.approx([one.results[0].irrelevance for one in judged], abs=1e-4)
    del manifest["calibrations"], manifest["exit"]["calibrations"]
    (with_exit / "bundle.json").write_text(json.dumps(manifest))
    moved = np.abs(found.irrelevance - scores(str(with_exit), level=level).irrelevance) > 1e-3
    assert moved.tolist() == [row.locale == "ko" for row in ROWS], "only ko has calibrations of its own"
    assert found.thresholds == pytest.approx([one.threshold for one in judged])
    assert found.by_all is not None
    assert found.by_all.tolist() == [bool(one.all_layers) for one in judged]


def test_a_level_without_an_early_exit_is_refused(bundle: Path) -> None:
    for what in (str(bundle), "overlap", "zero-shot"):
        with pytest.raises(InputError, match=r"level: .* has no early exit"):
            load_scorer(what, bundle=bundle, level="fast")


def test_a_precision_is_that_of_the_model_and_for_models_only(bundle: Path) -> None:
    assert load_scorer(str(bundle), precision="fp32").precision == "fp32"
    other = next(one for one in ("int8", "bf16") if lacking(one, torch.device("cpu")) is None)
    assert load_scorer("zero-shot", bundle=bundle, precision=other).precision == other
    assert load_scorer("overlap").precision is None
    for what in ("overlap", "embedding"):
        with pytest.raises(InputError, match=f"precision: {what} is no language model"):
            load_scorer(what, precision="bf16")
    with pytest.raises(InputError, match="Unknown precision int4"):
        load_scorer(str(bundle), precision="int4")


@pytest.mark.parametrize("what", ["overlap", "embedding"])
def test_what_is_alike_scores_higher_in_any_script(what: str) -> None:
    found = scores(what)
    assert found.gain[0] > found.gain[1]
    assert found.gain[2] > found.gain[3]
    assert not found.probable


def test_a_bundle_brings_its_calibration_and_thresholds_and_says_how_far_it_is(bundle: Path) -> None:
    scorer = load_scorer(str(bundle))
    done: list[int] = []
    found = scorer.score(ROWS, done.append)
    assert scorer.name == "tiny@3"
    assert done == [2, 2]
    assert found.thresholds is not None
    assert set(found.thresholds) == {0.5}
    bare = scores("zero-shot", bundle=bundle)
    assert bare.thresholds is None
    assert bare.grades == pytest.approx(found.grades)  # the tiny bundle has no adapter
    odds = np.log(bare.irrelevance / (1 - bare.irrelevance))
    assert found.irrelevance == pytest.approx(1 / (1 + np.exp(-(2 * odds + 1))))


def test_wrong_knowledge_is_that_of_another_query_and_the_same_every_time() -> None:
    def ask(query: str, locale: str) -> list[str]:
        return [] if query == "silent" else [f"{query} ({locale})"]

    queries = ["red", "blue", "silent"]
    rows = [
        LabelledPair(query=q, title="t", label="E", locale=locale) for q in queries for locale in ("en", "ko")
    ]
    wrong = wrong_knowledge(rows, ask)
    told = {(q, locale): tuple(wrong(q, locale)) for q in queries for locale in ("en", "ko")}
    assert all(lines and lines != (f"{q} ({locale})",) for (q, locale), lines in told.items())
    assert set(told.values()) <= {(f"{q} ({locale})",) for q in ("red", "blue") for locale in ("en", "ko")}
    again = wrong_knowledge(rows, ask)
    assert all(tuple(again(*key)) == lines for key, lines in told.items())
    with pytest.raises(InputError, match="knowledge: the bundle says too little"):
        wrong_knowledge(rows[:1], ask)


def test_a_model_is_told_nothing_or_its_knowledge_or_anothers(bundle: Path) -> None:
    scorer = load_scorer(str(bundle), knowledge="bundle")
    assert scorer.knowledge == "none"  # the bundle has none yet
    with pytest.raises(InputError, match="knowledge: the bundle tiny@3 has none"):
        load_scorer(str(bundle), knowledge="wrong")
    entries = [
        TermEntry(id=term, locale="en", source="test", term=term, meaning=meaning)
        for term, meaning in NOTES.items()
    ]
    KnowledgeSnapshot.build(entries, load_embedder()).save(bundle / "knowledge")
    found = {told: load_scorer(str(bundle), knowledge=told) for told in ("none", "bundle", "wrong")}  # type: ignore[arg-type]
    assert {told: scorer.knowledge for told, scorer in found.items()} == {told: told for told in found}
    pairs = [LabelledPair(query=query, title="t", label="E", locale="en") for query in NOTES]
    grades = {told: scorer.score(pairs, lambda count: None).grades for told, scorer in found.items()}
    for a, b in (("none", "bundle"), ("bundle", "wrong"), ("none", "wrong")):
        assert not np.allclose(grades[a], grades[b], atol=1e-5)


def test_zero_shot_leaves_the_adapter_out(bundle: Path) -> None:
    (bundle / "adapter").mkdir()  # broken: reading it would fail
    assert scores("zero-shot", bundle=bundle).grades is not None
    with pytest.raises((BundleError, OSError)):
        load_scorer(str(bundle))


def test_a_yes_no_reranker_is_a_scorer(tmp_path: Path, tiny_bases: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bases["qwen3"])
    tokenizer.add_tokens(["yes", "no"])
    model = AutoModelForCausalLM.from_pretrained(tiny_bases["qwen3"])
    model.resize_token_embeddings(len(tokenizer))
    tokenizer.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    found = scores(str(tmp_path))
    assert found.probable
    assert found.grades is found.thresholds is None
    assert found.exact == pytest.approx(1 - found.irrelevance, abs=1e-5)
    assert len(set(found.exact.tolist())) > 1


def test_a_model_without_yes_and_no_is_no_reranker(tiny_bases: dict[str, Path]) -> None:
    with pytest.raises(BundleError, match=r"no yes/no reranker.*'yes' is 3 tokens"):
        load_scorer(str(tiny_bases["qwen3"]))


@pytest.mark.parametrize("what", ["", "bm25", "./nowhere/model", "/nowhere", "a/b/c"])
def test_an_unknown_scorer_names_those_there_are(what: str) -> None:
    with pytest.raises(InputError, match="overlap, embedding, zero-shot"):
        load_scorer(what)
