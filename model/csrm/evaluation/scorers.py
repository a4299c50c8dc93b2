"""Whatever can be measured, by name: a bundle, the bare base, an embedding, an overlap of letters, another reranker.

Knows how each is loaded and asked; knows no labels and no figures.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from csrm.bundle import DEFAULT_BUNDLE, MANIFEST_FILE, Bundle, Manifest, load_bundle, shipped_bundles
from csrm.errors import BundleError, InputError
from csrm.evaluation.cross_encoder import is_cross_encoder, load_cross_encoder
from csrm.evaluation.grading import bundle_knowledge, wrong_knowledge
from csrm.evaluation.levels import need_level, scores_at
from csrm.evaluation.scores import Floats, Scores
from csrm.knowledge import Embedder, load_embedder
from csrm.knowledge.ngrams import grams
from csrm.model import RelevanceModel
from csrm.prompt import PromptLimits, PromptTemplate
from csrm.wire import Level

if TYPE_CHECKING:
    from csrm.training.data import LabelledPair

BASELINES = ("overlap", "embedding", "zero-shot")

YES_NO = PromptTemplate(
    prefix=(
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: Given a '
        "web search query, retrieve relevant passages that answer the query\n<Query>: {query}\n<Document>:"
    ),
    product=" {product}",
    suffix="<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    labels={"yes": "E", "no": "I"},
)
"""The prompt on the model card of Qwen3-Reranker, its default instruction included."""

YES_NO_LIMITS = PromptLimits(query_tokens=128, knowledge_tokens=0, product_tokens=512)

_EMBEDDED_AT_ONCE = 64

OnScored = Callable[[int], None]
"""Called now and then with the number of rows that were scored since."""


Told = Literal["none", "bundle", "wrong"]
"""What a model is told before the products: nothing, what the bundle says of the query, or of another query."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """What scores rows, by the name that a table shows, what it is told of their queries, and how deep it judges.

    ``precision`` is that of the weights; null where there are none.
    """

    name: str
    score: Callable[[Sequence[LabelledPair], OnScored], Scores]
    knowledge: Told = "none"
    level: Level = "full"
    precision: str | None = None


def load_scorer(
    what: str,
    *,
    bundle: str | Path = DEFAULT_BUNDLE,
    knowledge: Told = "bundle",
    level: Level = "full",
    precision: str = "auto",
) -> Scorer:
    """Load a scorer.

    Args:
        what: ``overlap``, ``embedding`` or ``zero-shot`` (the base of ``bundle`` under its prompt, without adapter and
            calibration); else the name or folder of a bundle, or the folder or hub id of a cross-encoder or of a
            causal LM that answers yes or no, as Qwen3-Reranker does.
        bundle: of ``zero-shot``.
        knowledge: what a model is told of each query; ``bundle`` is as in serving.
        level: how deep a bundle judges.
        precision: of a language model, as for ``RelevanceModel.load``.

    Raises:
        InputError: nothing goes by that name, a bundle without knowledge is to be told wrong things, the level needs an
            early exit that is not there, or the precision is unknown or for what has no weights to put into it.
        BundleError: the bundle is wrong, the model's yes and no are not one token each, or a cross-encoder gives more
            than one number.
        BaseModelError: weights cannot be had or read.
        KnowledgeError: the bundle's knowledge is broken.
        MissingExtraError: the ``serve`` extra is not installed.
    """
    if not _is_bundle(what):
        need_level(what, level)
    if what in ("overlap", "embedding") and precision != "auto":
        raise InputError(f"precision: {what} is no language model: leave precision out.")
    if what == "overlap":
        return Scorer(what, lambda rows, on_scored: Scores.of_similarity(_overlap(rows)))
    if what == "embedding":
        engine = load_embedder()
        return Scorer(
            f"embedding ({engine.name})",
            lambda rows, on_scored: Scores.of_similarity(_cosine(rows, engine, on_scored)),
        )
    if what == "zero-shot":
        shown = load_bundle(bundle)
        old = shown.manifest
        bare = Manifest(
            name=old.name,
            version=old.version,
            base=old.base,
            prompt=old.prompt,
            limits=old.limits,
            gains=old.gains,
        )
        return _of_model(f"zero-shot ({old.base})", _without_adapter(bare, precision), shown, knowledge)
    if _is_bundle(what):
        model = RelevanceModel.load(what, precision=precision)
        need_level(model.name, level, model.level(level))
        return _of_model(model.name, model, model.bundle, knowledge, thresholds=True, level=level)
    if _may_be_model(what):
        if is_cross_encoder(what):
            return Scorer(what, load_cross_encoder(what, precision), precision=precision)
        manifest = Manifest(name="reranker", version=1, base=what, prompt=YES_NO, limits=YES_NO_LIMITS)
        try:
            return _of_model(what, _without_adapter(manifest, precision))
        except BundleError as error:
            raise BundleError(f"{what} is no yes/no reranker. {error}") from error
    raise InputError(
        f"There is no scorer {what!r}: use {', '.join(BASELINES)}, the name or folder of a bundle, or the folder or "
        "hub id of a cross-encoder or a yes/no reranker."
    )


def _is_bundle(what: str) -> bool:
    homes = (Path(what), shipped_bundles() / what)
    return what == DEFAULT_BUNDLE or (bool(what) and any((home / MANIFEST_FILE).is_file() for home in homes))


def _may_be_model(what: str) -> bool:
    """A folder with weights, or what has the form of a hub id and is no path."""
    if Path(what).exists():
        return (Path(what) / "config.json").is_file()
    return what.count("/") == 1 and not what.startswith((".", "/", "~")) and not what.endswith("/")


def _without_adapter(manifest: Manifest, precision: str) -> RelevanceModel:
    with tempfile.TemporaryDirectory(prefix="csrm-scorer-") as folder:
        (Path(folder) / MANIFEST_FILE).write_text(manifest.model_dump_json(), encoding="utf-8")
        return RelevanceModel.load(folder, precision=precision)


def _of_model(
    name: str,
    model: RelevanceModel,
    knowing: Bundle | None = None,
    told: Told = "none",
    *,
    thresholds: bool = False,
    level: Level = "full",
) -> Scorer:
    """A model as a scorer; ``knowing`` is the bundle whose knowledge it may be told of.

    The thresholds of a model that was never calibrated promise nothing, and are not measured.
    """
    knowledge = bundle_knowledge(knowing) if knowing is not None and told != "none" else None
    if knowing is not None and knowledge is None and told == "wrong":
        raise InputError(
            f"knowledge: the bundle {knowing.name} has none that could be told of the wrong query."
        )

    def score(rows: Sequence[LabelledPair], on_scored: OnScored) -> Scores:
        ask = wrong_knowledge(rows, knowledge) if knowledge and told == "wrong" else knowledge
        scores = scores_at(model, rows, ask, level, on_scored)
        return scores if thresholds else replace(scores, thresholds=None)

    return Scorer(name, score, told if knowledge else "none", level, model.precision)


def _overlap(rows: Sequence[LabelledPair]) -> Floats:
    """Share of the query's letter pairs and triples, within words, that the title has too, (n,).

    What a lexical search goes by, for languages with and without spaces between words.
    """
    asked = [set(grams(row.query)) for row in rows]
    said = [set(grams(row.title)) for row in rows]
    return np.array(
        [len(query & title) / max(len(query), 1) for query, title in zip(asked, said, strict=True)],
        dtype=np.float64,
    )


def _cosine(rows: Sequence[LabelledPair], engine: Embedder, on_scored: OnScored) -> Floats:
    """Cosine of the embeddings of query and title, (n,)."""
    found = np.empty(len(rows))
    for begin in range(0, len(rows), _EMBEDDED_AT_ONCE):
        part = rows[begin : begin + _EMBEDDED_AT_ONCE]
        queries = engine.embed_queries([row.query for row in part])
        titles = engine.embed_passages([row.title for row in part])
        found[begin : begin + len(part)] = (queries * titles).sum(axis=1)
        on_scored(len(part))
    return found
