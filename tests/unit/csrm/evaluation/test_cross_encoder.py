"""A cross-encoder as a scorer, on a tiny random one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from csrm.errors import BundleError, InputError
from csrm.evaluation.scorers import load_scorer
from csrm.evaluation.scores import Scores
from csrm.training.data import LabelledPair

ROWS = [
    LabelledPair(query=query, title=title, label="E", locale=locale)
    for query, title, locale in (
        ("wireless mouse", "Wireless optical mouse, black", "en"),
        ("wireless mouse", "Garden gnome", "en"),
        ("무선 마우스", "로지텍 무선마우스 블랙", "ko"),
    )
]


def scores(what: Path, **options: object) -> Scores:
    return load_scorer(str(what), **options).score(ROWS, lambda count: None)  # type: ignore[arg-type]


def cross_encoder(folder: Path, labels: int) -> Path:
    torch.manual_seed(3)
    words = ["<pad>", "<unk>", "w", "G", "무", "로", "i", "r", "e", "l", "s"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(words), **sizes)
    config.num_labels = labels
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_a_cross_encoder_is_a_scorer(tmp_path: Path) -> None:
    found = scores(cross_encoder(tmp_path, 1))
    assert not found.probable
    assert found.grades is found.thresholds is None
    whole = CrossEncoder(str(tmp_path)).predict([(row.query, row.title) for row in ROWS])
    assert found.gain == pytest.approx(whole, abs=1e-5)  # whatever order they were asked in
    assert len(set(found.gain.round(6).tolist())) > 1
    rounded = scores(tmp_path, precision="bf16").gain
    assert 0 < np.abs(rounded - found.gain).max() < 0.05
    with pytest.raises(InputError, match=r"precision: a cross-encoder runs in fp32 or bf16, not int8"):
        scores(tmp_path, precision="int8")


def test_a_classifier_of_several_kinds_is_no_reranker(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="gives 3 numbers for a pair: a reranker has one"):
        load_scorer(str(cross_encoder(tmp_path, 3)))
