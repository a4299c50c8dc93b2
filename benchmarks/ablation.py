"""What each part of the training method is worth: one training a variant, the same rows, the same measure.

    python -m benchmarks.ablation prepare --data DIR... --out build/ablation/prepared.pkl.xz
    python -m benchmarks.ablation run build/ablation/prepared.pkl.xz benchmarks/ablation.yaml --out build/ablation
    python -m benchmarks.ablation table build/ablation/prepared.pkl.xz build/ablation relevance translation sd1

The first needs no GPU and reads the rows, finds their knowledge and encodes them, so that the second needs nothing
but the weights and can be carried to a machine with a GPU. Each variant's grades of the dev rows and of the rows held
out of the training queries stand in ``OUT/NAME.npz``; a variant that is there already is not trained again.
"""

from __future__ import annotations

import argparse
import lzma
import pickle
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict

from csrm.prompt import GRADES
from csrm.training.data import LabelledPair, TrainingRow, deduplicated, read_pairs
from csrm.training.recipe import (
    DistillationSettings,
    ExitSettings,
    KnowledgeSettings,
    LoraSettings,
    Recipe,
    Stage,
    TranslationSettings,
)

if TYPE_CHECKING:
    from csrm.knowledge.embedders import Embedder, Vectors

HUMAN = ("esci_en/train_4class.jsonl.gz", "esci_en/train_4class_more.jsonl.gz")
MARKETS = ("es", "ko", "ja", "zh-TW")
PARALLEL = tuple(f"parallel/{locale}.jsonl" for locale in MARKETS)
JUDGED = tuple(f"llm_judged/{locale}.jsonl.gz" for locale in ("en", *MARKETS))
SUBSTITUTES = ("esci_en/substitute_yesno.jsonl.gz",)
SHOP = ("shop/pairs.jsonl",)
AUTHOR = (
    "graded.jsonl",
    "graded_en_zh.jsonl",
    "graded_es_en.jsonl",
    "graded_ja_ko.jsonl",
    "graded_kinds_es_en.jsonl",
    "graded_kinds_ja_ko_zh.jsonl",
)
SOURCES = {
    "human": HUMAN,
    "parallel": PARALLEL,
    "author": AUTHOR,
    "judged": JUDGED,
    "shop": SHOP,
    "substitutes": SUBSTITUTES,
}
"""Best labels first: of repeated pairs the first stays."""
DEV = tuple(
    [f"esci_native_dev/{locale}.jsonl" for locale in ("es", "ja")]
    + [f"esci_xl_dev/{locale}.jsonl" for locale in ("en", *MARKETS)]
)
NATIVE = 276
"""So many of the dev rows, the first, are native."""
TEXT = (*PARALLEL, "google_taxonomy/google_taxonomy_wide.csv.gz", "parallel.jsonl")
HELD_OUT_FOLDS = 8
"""One query in eight is held out where a variant says so: more rows to choose by than the dev sets have."""


class Variant(BaseModel):
    """One training. What is not said is as in the shipped recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sources: dict[str, int] = {"human": 2, "parallel": 2, "author": 2, "judged": 1, "shop": 1}
    locales: list[str] | None = None
    notes: bool = True
    translation: float = 0.0
    translation_first: bool = False
    annotators: bool = False
    exit: int | None = None
    exit_weight: float = 0.3
    rank: int = 16
    learning_rate: float = 3e-4
    epochs: int = 2
    batch_tokens: int = 4096
    rounds: int = 0
    folds: int = 4
    believed_noise: float = 0.2
    noise: float = 0.0
    teachers: str | None = None
    """Take the refined labels of this variant's rounds instead of training teachers of its own."""
    hold_out: bool = False
    train: bool = True
    student: bool = True
    save: bool = False
    seed: int = 20260917


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything encoded: ``rows`` with the name of their source, without and with knowledge."""

    rows: list[tuple[str, TrainingRow]]
    plain: list[list[int]]
    noted: list[list[int]]
    dev: list[LabelledPair]
    dev_ids: dict[str, list[list[int]]]
    translations: list[tuple[list[int], int]]
    """Token ids, how many of them are the answer."""


def say(line: str) -> None:
    """One line of progress."""
    print(line, flush=True)  # noqa: T201


class Remembered:
    """An embedding engine whose vectors are kept in a file: a second preparation embeds only what is new."""

    def __init__(self, engine: Embedder, path: Path) -> None:
        self.name, self.version, self.dimension = engine.name, engine.version, engine.dimension
        self._engine, self._path = engine, path
        self._known: dict[tuple[str, str], Vectors] = {}
        if path.is_file():
            with path.open("rb") as file:
                self._known = pickle.load(file)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed("query", texts)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return self._embed("passage", texts)

    def save(self) -> None:
        with self._path.open("wb") as file:
            pickle.dump(self._known, file)

    def _embed(self, kind: str, texts: Sequence[str]) -> Vectors:
        embed = self._engine.embed_queries if kind == "query" else self._engine.embed_passages
        new = list(dict.fromkeys(text for text in texts if (kind, text) not in self._known))
        if new:
            self._known |= {(kind, text): vector for text, vector in zip(new, embed(new), strict=True)}
        return np.stack([self._known[kind, text] for text in texts])


def prepare(data: Sequence[Path], out: Path, limit: int | None) -> None:
    """Read, find knowledge, encode."""
    from transformers import AutoTokenizer

    from csrm.bundle import load_bundle
    from csrm.evaluation.grading import bundle_knowledge
    from csrm.knowledge import load_embedder
    from csrm.prompt import PromptEncoder
    from csrm.scoring.base import prepare_base
    from csrm.training import relevance, translation
    from csrm.training.augmentation import knowledge_lines
    from csrm.training.run import under

    recipe = Recipe(name="none", stages=[Stage(name="none", sources=[{"path": "none"}])], dev=[Path("none")])
    tokenizer = AutoTokenizer.from_pretrained(prepare_base(recipe.base))
    encoder = PromptEncoder(tokenizer, recipe.prompt, recipe.limits)
    named: dict[tuple[str, str], tuple[str, TrainingRow]] = {}
    for name, paths in SOURCES.items():
        part = [row for path in paths for row in read_pairs(under(data, Path(path)), TrainingRow)][:limit]
        if name == "substitutes":
            part = [row.model_copy(update={"label_by": "yes/no"}) for row in part]
        for row in deduplicated(part):
            named.setdefault(row.key, (name, row))
        say(f"{name}: {len(part)} rows, {len(named)} unique so far")
    rows = list(named.values())
    bundle = load_bundle()
    assert bundle.knowledge_path is not None
    settings = KnowledgeSettings(
        entries=[bundle.knowledge_path / "entries.jsonl", under(data, Path("shop/knowledge.jsonl"))]
    )
    plain_rows = [row for _, row in rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    embedder = Remembered(load_embedder(), out.parent / "vectors.pkl")
    lines = knowledge_lines(plain_rows, settings, recipe.seed, embedder)
    embedder.save()
    dev = [row for path in DEV for row in read_pairs(under(data, Path(path)))][:limit]
    ask = bundle_knowledge(bundle)
    assert ask is not None
    notes = [list(ask(row.query, row.locale)) for row in dev]
    others = random.Random(1).sample([found for found in notes if found], k=sum(map(bool, notes)))
    wrong = [others[i % len(others)] for i in range(len(dev))]
    options = TranslationSettings(sources=[Path(path) for path in TEXT])
    parallel = [line for path in TEXT for line in translation.read_lines(under(data, Path(path)), options)]
    nothing: list[list[str]] = [[] for _ in rows]

    def ids(of: Sequence[LabelledPair], knowledge: Sequence[Sequence[str]]) -> list[list[int]]:
        return [example.ids for example in relevance.encode(of, knowledge, encoder)]

    prepared = Prepared(
        rows=rows,
        plain=ids(plain_rows, nothing),
        noted=ids(plain_rows, lines),
        dev=dev,
        dev_ids={"none": ids(dev, [[] for _ in dev]), "notes": ids(dev, notes), "wrong": ids(dev, wrong)},
        translations=[(e.ids, e.answer) for e in translation.encode(parallel, tokenizer)],
    )
    with lzma.open(out, "wb", preset=2) as file:
        pickle.dump(prepared, file)
    say(
        f"{len(rows)} rows of {sum(map(len, prepared.noted))} tokens, {len(dev)} dev rows, "
        f"{len(prepared.translations)} lines of {sum(len(i) for i, _ in prepared.translations)} tokens: {out}"
    )


def run(
    prepared: Path,
    variants: Path,
    out: Path,
    base: str | None,
    minutes: float,
    worker: tuple[int, int] = (0, 1),
) -> None:
    """Train and grade each variant that has no result yet, as long as there is time."""
    from csrm.training.trainer import Trainer

    with lzma.open(prepared, "rb") as file:
        rows: Prepared = pickle.load(file)
    wanted = [Variant.model_validate(entry) for entry in yaml.safe_load(variants.read_text(encoding="utf-8"))]
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    trainer: Trainer | None = None
    for variant in wanted:
        if (out / f"{variant.name}.npz").is_file() or (variant.student and not _claimed(out, variant.name)):
            continue
        if time.monotonic() - started > 60 * minutes:
            say("out of time")
            return
        recipe = _recipe(variant, base)
        if trainer is None or trainer.recipe.lora != recipe.lora:
            trainer = Trainer(recipe, annotators=[row.label_by for _, row in rows.rows])
        trainer.recipe = recipe
        begun = time.monotonic()
        line = _one(variant, trainer, rows, out, worker)
        say(f"{begun - started:5.0f} s + {time.monotonic() - begun:4.0f} s  {variant.name}: {line}")


def _claimed(out: Path, name: str) -> bool:
    """Whether this process is the one that trains a variant."""
    try:
        (out / f"{name}.claim").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _recipe(variant: Variant, base: str | None) -> Recipe:
    translation = TranslationSettings(
        sources=[Path("as prepared")], share=1.0 if variant.translation_first else variant.translation or 0.1
    )
    source = [{"path": "as prepared"}]
    stage = Stage(
        name="grades",
        sources=source,
        epochs=variant.epochs,
        learning_rate=variant.learning_rate,
        translation=translation if variant.translation and not variant.translation_first else None,
    )
    first = Stage(name="translation", translation=translation) if variant.translation_first else None
    settings: dict[str, Any] = {} if base is None else {"base": base}
    return Recipe(
        name=variant.name,
        lora=LoraSettings(rank=variant.rank, alpha=2 * variant.rank),
        exit=None if variant.exit is None else ExitSettings(layer=variant.exit, weight=variant.exit_weight),
        annotators=variant.annotators,
        distillation=DistillationSettings(
            folds=variant.folds, rounds=variant.rounds, noise=variant.believed_noise
        )
        if variant.rounds
        else None,
        stages=[stage] if first is None else [first, stage],
        dev=[Path("as prepared")],
        batch_tokens=variant.batch_tokens,
        checkpoint_steps=1_000_000,
        seed=variant.seed,
        **settings,
    )


def _one(variant: Variant, trainer: Any, prepared: Prepared, out: Path, worker: tuple[int, int]) -> str:
    from csrm.training import distillation, relevance, rounds, translation
    from csrm.training.trainer import Dev

    held = rounds.folds_of([row for _, row in prepared.rows], HELD_OUT_FOLDS) == 0
    chance = random.Random(f"{variant.seed}/noise")
    rows: list[TrainingRow] = []
    examples: list[relevance.Example] = []
    tests: list[relevance.Example] = []
    test_rows: list[int] = []
    for i, (source, row) in enumerate(prepared.rows):
        target = tuple(float(grade in row.label) for grade in GRADES)
        example = relevance.Example(prepared.plain[i], target, row.label_by)  # type: ignore[arg-type]
        if held[i] and len(row.label) == 1:
            test_rows.append(i)
            tests.append(example)
        if source not in variant.sources or (variant.hold_out and held[i]):
            continue
        if variant.locales is not None and row.locale not in variant.locales:
            continue
        if variant.notes:
            example = replace(example, ids=prepared.noted[i])
        if chance.random() < variant.noise:
            other = chance.choice([g for g in GRADES if g not in row.label] or list(GRADES))
            example = replace(example, target=tuple(float(g == other) for g in GRADES))
        rows += [row] * variant.sources[source]
        examples += [example] * variant.sources[source]
    lines = [translation.Example(ids, answer) for ids, answer in prepared.translations]
    lessons = [
        distillation.Lesson(stage, [], [], lines)
        if not stage.sources
        else distillation.Lesson(stage, rows, examples, lines if stage.translation is not None else [])
        for stage in trainer.recipe.stages
    ]
    dev = Dev(
        [relevance.Example(ids, (1.0, 0.0, 0.0, 0.0)) for ids in prepared.dev_ids["none"]],
        np.array([row.label in "ES" for row in prepared.dev]),
    )
    work = out / variant.name
    result: dict[str, Any] = {"test_rows": np.array(test_rows)}
    if not variant.train:
        trainer.reset()
    elif trainer.recipe.distillation is not None:
        lessons = distillation.refined(
            trainer,
            lessons,
            trainer.recipe.distillation,
            dev,
            out / (variant.teachers or variant.name),
            worker=worker,
        )
    if not variant.student:
        return "teachers"
    if variant.train:
        distillation.teach(trainer, lessons, work)
    for condition, ids in prepared.dev_ids.items():
        full, early = trainer.grades([relevance.Example(i, (1.0, 0.0, 0.0, 0.0)) for i in ids])
        result[f"dev_{condition}"] = full
        if early is not None:
            result[f"dev_{condition}_early"] = early
    result["test"], early = trainer.grades(tests)
    if early is not None:
        result["test_early"] = early
    if variant.save:
        trainer.save(work)
    np.savez_compressed(out / f"{variant.name}.npz", **result)
    (out / f"{variant.name}.claim").unlink()
    for checkpoint in work.glob("checkpoint-*.pt"):
        checkpoint.unlink()
    return _figures(prepared, result)


def table(prepared: Path, out: Path, chain: Sequence[str]) -> str:
    """A markdown table of the results in a folder, in the order of ``chain``, each beside the one before it.

    Dev rows as they are served without knowledge; intervals are 95 % over queries, of the difference paired.
    """
    from csrm.evaluation.compare import compare
    from csrm.evaluation.report import report

    with lzma.open(prepared, "rb") as file:
        rows: Prepared = pickle.load(file)
    native = [i for i, row in enumerate(rows.dev) if i < NATIVE]
    parts = {"native": native, "translated": list(range(len(native), len(rows.dev)))}
    lines = ["| variant | " + " | ".join(f"{name} AUC, and less the one above" for name in parts) + " |"]
    lines.append("|" + "---|" * (len(parts) + 1))
    before: Any = None
    for name in chain:
        grades = np.load(out / f"{name}.npz")["dev_none"]
        cells = []
        for places in parts.values():
            part = [rows.dev[i] for i in places]
            cell = _with_interval(report(part, grades[places])["auc_es"])
            if before is not None:
                difference = compare(part, grades[places], before[places])["auc_es"]["difference"]
                cell += f"; {_with_interval(difference, sign='+')}"
            cells.append(cell)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        before = grades
    return "\n".join(lines)


def _with_interval(figure: dict[str, Any], sign: str = "") -> str:
    low, high = figure["ci95"]
    return f"{figure['value']:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _figures(prepared: Prepared, result: dict[str, Any]) -> str:
    """ROC-AUC of E and S against C and I: native and translated dev rows, held-out rows by source."""
    from sklearn.metrics import roc_auc_score

    def auc(labels: Sequence[str], grades: Any) -> float:
        relevant = [label in "ES" for label in labels]
        return (
            float(roc_auc_score(relevant, grades[:, :2].sum(axis=1)))
            if len(set(relevant)) == 2
            else float("nan")
        )

    native = np.arange(len(prepared.dev)) < NATIVE
    labels = np.array([row.label for row in prepared.dev])
    parts = []
    for key in sorted(result):
        if key.startswith("dev_"):
            parts.append(
                f"{key[4:]} {auc(labels[native], result[key][native]):.4f} "
                f"{auc(labels[~native], result[key][~native]):.4f}"
            )
    kept = [prepared.rows[i] for i in result["test_rows"]]
    for name in ("human", "parallel", "author", "judged", "shop"):
        mine = np.array([source == name for source, _ in kept])
        if mine.any():
            part = [row.label for (_, row), m in zip(kept, mine, strict=True) if m]
            parts.append(f"{name} {auc(part, result['test'][mine]):.4f}")
    return " | ".join(parts)


def main() -> None:
    """The command line; see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("prepare")
    first.add_argument("--data", type=Path, action="append", required=True)
    first.add_argument("--out", type=Path, required=True)
    first.add_argument("--limit", type=int, default=None, help="rows of each source, for a try")
    second = commands.add_parser("run")
    second.add_argument("prepared", type=Path)
    second.add_argument("variants", type=Path)
    second.add_argument("--out", type=Path, required=True)
    second.add_argument("--base", default=None, help="folder of the base weights")
    second.add_argument("--minutes", type=float, default=600.0, help="start no variant after that long")
    second.add_argument("--worker", default="0/1", help="which of how many processes that share the teachers")
    third = commands.add_parser("table")
    third.add_argument("prepared", type=Path)
    third.add_argument("out", type=Path)
    third.add_argument("chain", nargs="+", help="names of variants, each compared with the one before it")
    arguments = parser.parse_args()
    if arguments.command == "prepare":
        prepare(arguments.data, arguments.out, arguments.limit)
    elif arguments.command == "table":
        say(table(arguments.prepared, arguments.out, arguments.chain))
    else:
        number, of = map(int, arguments.worker.split("/"))
        run(
            arguments.prepared,
            arguments.variants,
            arguments.out,
            arguments.base,
            arguments.minutes,
            (number, of),
        )


if __name__ == "__main__":
    main()
