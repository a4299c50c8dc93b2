"""What a user would run instead, with the same weights where it can take them. One class each.

Each is set up as its own documentation shows, with its own batch size; one caller at a time, since none of them may be
called from two threads. Those that are no part of the ``serve`` extra are installed by whoever wants them compared.
"""

from __future__ import annotations

import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from csrm.benchmark.agreement import Scores
from csrm.benchmark.peak import DTYPES
from csrm.benchmark.plain import BATCH, PlainTransformers, load_model
from csrm.benchmark.scorers import Scorer
from csrm.benchmark.weights import Weights, shop_tokenizer
from csrm.benchmark.work import Work
from csrm.benchmark.workload import Search

Factory = Callable[[Weights, str, str], Scorer]
"""From weights, precision and device."""

_SIDES = "{{ bos_token }}{{ messages[0]['content'] }}{{ messages[1]['content'] }}"
"""A chat template that makes our prompt of the two sides of a pair."""


class _Peer(ABC):
    """One caller at a time; the texts of our prompt."""

    name: str
    reading: str

    def __init__(self, weights: Weights, precision: str, device: str) -> None:
        self.precision = precision
        self._template = weights.template
        self._lock = threading.Lock()
        self._load(weights, DTYPES[precision], device)

    def __call__(self, search: Search) -> Scores:
        with self._lock:
            return self._score(search)

    def flops(self, search: Search, whole: float) -> float:
        return whole

    @abstractmethod
    def _load(self, weights: Weights, dtype: torch.dtype, device: str) -> None:
        """Load the weights, or raise ImportError where the package is not installed."""

    @abstractmethod
    def _score(self, search: Search) -> Scores:
        """The score of every product, in their order."""

    def _sides(self, search: Search) -> tuple[str, list[str]]:
        """The text before the product, and each product with the suffix."""
        template = self._template
        before = template.prefix.format(locale=search.locale, knowledge="", query=search.query)
        return before, [template.product.format(product=text) + template.suffix for text in search.products]


class SentenceTransformers(_Peer):
    """``CrossEncoder`` of a causal LM with ``LogitScore``."""

    name = "sentence-transformers"
    reading = "odds"

    def _load(self, weights: Weights, dtype: torch.dtype, device: str) -> None:
        from sentence_transformers import CrossEncoder
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.cross_encoder.modules import LogitScore

        transformer = Transformer(
            str(weights.folder),
            transformer_task="text-generation",
            model_kwargs={"dtype": dtype},
            processor_kwargs={"chat_template": _SIDES},
        )
        best, *_, worst = weights.answer_ids()
        self._model = CrossEncoder(modules=[transformer, LogitScore(best, worst)], device=device)

    def _score(self, search: Search) -> Scores:
        before, products = self._sides(search)
        pairs = [(before, product) for product in products]
        return np.asarray(self._model.predict(pairs, show_progress_bar=False), dtype=np.float64)


class FlagEmbedding(_Peer):
    """``FlagLLMReranker``: it reads one answer's logit, and puts line breaks between the parts of the prompt."""

    name = "FlagEmbedding"
    reading = "best"

    def _load(self, weights: Weights, dtype: torch.dtype, device: str) -> None:
        from FlagEmbedding import FlagLLMReranker

        self._model = FlagLLMReranker(
            str(weights.folder),
            use_fp16=False,
            use_bf16=dtype == torch.bfloat16,
            query_instruction_for_rerank="",
            passage_instruction_for_rerank="",
            devices=[device],
            batch_size=BATCH,
        )
        self._model.yes_loc = weights.answer_ids()[0]

    def _score(self, search: Search) -> Scores:
        before, products = self._sides(search)
        query, _, label = before.rpartition("\n")  # it puts the line break back between the two
        end = self._template.suffix
        pairs = [(query, label + product.removesuffix(end)) for product in products]
        with redirect_stderr(StringIO()):  # its progress bars
            scores = self._model.compute_score(pairs, prompt=end.removeprefix("\n"))
        return np.asarray(scores, dtype=np.float64).reshape(-1)


class Rerankers(_Peer):
    """``rerankers``: a sequence classifier of the same weights, whose one row is best answer minus worst."""

    name = "rerankers"
    reading = "odds"

    def _load(self, weights: Weights, dtype: torch.dtype, device: str) -> None:
        from rerankers import Reranker

        with tempfile.TemporaryDirectory() as folder:
            _save_classifier(weights, Path(folder))
            self._model = Reranker(folder, model_type="cross-encoder", dtype=dtype, device=device, verbose=0)
        if self._model is None:  # its way of saying that something it needs is missing
            raise ImportError("rerankers cannot load a cross-encoder", name="rerankers")
        self._bos = weights.tokenizer().bos_token or ""

    def _score(self, search: Search) -> Scores:
        before, products = self._sides(search)
        ranked = self._model.rank(self._bos + before, products, doc_ids=list(range(len(products))))
        scores = np.empty(len(products))
        for result in ranked.results:
            scores[result.document.doc_id] = result.score
        return scores


class Encoder21M(_Peer):
    """A bidirectional encoder of multilingual-e5-small's shape (21M weights without its vocabulary), random weights:
    the speed of the small model a user could train instead. Its order means nothing."""

    name = "encoder-21m"
    reading = "odds"

    def _load(self, weights: Weights, dtype: torch.dtype, device: str) -> None:
        from sentence_transformers import CrossEncoder

        torch.manual_seed(0)
        tokenizer = shop_tokenizer([])
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=384,
            num_attention_heads=12,
            intermediate_size=1536,
        )
        config.num_labels = 1
        with tempfile.TemporaryDirectory() as folder:
            BertForSequenceClassification(config).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            self._model = CrossEncoder(folder, device=device, model_kwargs={"dtype": dtype})
        self._tokenizer = tokenizer
        body = (
            config.num_hidden_layers
            * config.hidden_size
            * (4 * config.hidden_size + 2 * config.intermediate_size)
        )
        self._work = Work(weights=body, attention=4 * config.num_hidden_layers * config.hidden_size)

    def flops(self, search: Search, whole: float) -> float:
        pairs = self._tokenizer([search.query] * len(search.products), list(search.products))["input_ids"]
        return sum(self._work.flops(0, [len(pair)]) for pair in pairs)

    def _score(self, search: Search) -> Scores:
        pairs = [(search.query, product) for product in search.products]
        return np.asarray(self._model.predict(pairs, show_progress_bar=False), dtype=np.float64)


PEERS: Mapping[str, Factory] = {
    peer.name: peer
    for peer in (SentenceTransformers, Encoder21M, FlagEmbedding, Rerankers, PlainTransformers)
}
"""The quick ones first: where the time is short, they are measured."""


def _save_classifier(weights: Weights, folder: Path) -> None:
    """The decoder with one output row; its tokenizer joins the two sides as they are."""
    lm = load_model(weights, "fp32", "cpu")
    best, *_, worst = weights.answer_ids()
    rows = lm.get_output_embeddings().weight
    classifier: Any = AutoModelForSequenceClassification.from_pretrained(
        weights.folder, num_labels=1, dtype=torch.float32
    )
    own = weights.tokenizer()
    classifier.config.pad_token_id = own.pad_token_id
    with torch.no_grad():
        classifier.score.weight.copy_((rows[best] - rows[worst]).unsqueeze(0))
    classifier.save_pretrained(folder)
    backend = own.backend_tokenizer
    joined = type(backend).from_str(backend.to_str())
    joined.post_processor = None  # a tokenizer's own would put a beginning before each side
    joining = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=joined, pad_token=own.pad_token, bos_token=own.bos_token
    )
    joining.save_pretrained(folder)
