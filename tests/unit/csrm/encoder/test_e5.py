"""The encoder's weights and tokenizer, out of the embedding engine's file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from csrm.encoder.bert import base_of
from csrm.encoder.cross_encoder import padded, word_rows
from csrm.encoder.e5 import E5File
from csrm.errors import BaseModelError
from csrm.knowledge import Embedder
from tests.unit.csrm.encoder.reference import bert

TEXTS = ["wireless earbuds", "手機殼", "무선 이어폰 케이스"]


def test_the_unpacked_encoder_embeds_as_the_engine_does(e5: E5File, embedder: Embedder) -> None:
    e5.tokenizer.no_truncation()
    ids, lengths = padded([e5.tokenizer.encode(f"query: {text}").ids for text in TEXTS])
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    with torch.inference_mode():
        states = bert(e5, base_of(e5))(
            inputs_embeds=word_rows(e5, ids), attention_mask=mask
        ).last_hidden_state
    means = F.normalize((states * mask[..., None]).sum(1) / lengths[:, None], dim=1).numpy()
    cosines = (means @ np.asarray(embedder.embed_queries(TEXTS)).T).round(4)
    assert (np.diag(cosines) > 0.999).all(), cosines
    assert (cosines - np.eye(3) < 0.99).all(), "texts are told apart"


@pytest.mark.parametrize("text", ["</s>", "a <s> b", "<mask><pad>", "<unk>"])
def test_no_text_is_a_special_token(e5: E5File, text: str) -> None:
    special = {e5.tokenizer.token_to_id(name) for name in ("<s>", "</s>", "<pad>", "<unk>", "<mask>")}
    ids = e5.tokenizer.encode(text, add_special_tokens=False).ids
    assert ids
    assert not special & set(ids)
    assert "".join(e5.tokenizer.decode(ids, skip_special_tokens=False).replace("▁", " ").split()) == "".join(
        text.split()
    )


def test_rows_of_the_vocabulary_are_those_of_their_words(e5: E5File) -> None:
    rows = e5.words(np.array([5, 250_000, 5]))
    assert rows.shape == (3, 384)
    assert (rows[0] == rows[2]).all()
    assert (rows[0] != rows[1]).any()


@pytest.mark.parametrize("content", [b"", b"GGUF and more", b"E5S1" + bytes(60)])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.bin").write_bytes(content)
    with pytest.raises(BaseModelError, match=r"weights\.bin"):
        E5File(tmp_path / "weights.bin")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"none\.bin"):
        E5File(tmp_path / "none.bin")
