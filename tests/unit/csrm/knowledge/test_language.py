"""Language is taken out of vectors: a meaning is nearer to itself in another language than to its neighbours."""

from __future__ import annotations

import numpy as np

from csrm.knowledge import Embedder
from csrm.knowledge.language import PROBES, fit_passages, fit_queries

# Not among the probe phrases: what is averaged must not be what is measured.
PARALLEL = {
    "en": ["electric toothbrush", "fishing rod", "rice cooker", "wall clock", "hair dryer", "toy train", "bed sheet"],
    "ko": ["전동칫솔", "낚싯대", "전기밥솥", "벽시계", "헤어드라이기", "장난감 기차", "침대 시트"],
    "ja": ["電動歯ブラシ", "釣り竿", "炊飯器", "壁掛け時計", "ヘアドライヤー", "おもちゃの電車", "ベッドシーツ"],
    "es": ["cepillo eléctrico", "caña de pescar", "olla arrocera", "reloj de pared", "secador de pelo",
           "tren de juguete", "sábana"],
}  # fmt: skip


def test_probes_are_parallel() -> None:
    assert len(PROBES) == 8
    assert {len(phrases) for phrases in PROBES.values()} == {24}
    assert all(len(set(phrases)) == 24 for phrases in PROBES.values())


def test_translations_are_nearer_than_neighbours_of_the_same_language(embedder: Embedder) -> None:
    removal_q, removal_p = fit_queries(embedder), fit_passages(embedder)

    def beaten(clean: bool) -> float:
        """Share of (translation, unrelated text of the query's own language) pairs in which the latter is nearer."""
        lost = total = 0
        for one in PARALLEL:
            queries = embedder.embed_queries(PARALLEL[one])
            neighbours = embedder.embed_passages(PARALLEL[one])
            if clean:
                queries, neighbours = removal_q(queries), removal_p(neighbours)
            unrelated = (queries @ neighbours.T)[~np.eye(7, dtype=bool)].reshape(7, 6)
            for other in PARALLEL:
                if other != one:
                    passages = embedder.embed_passages(PARALLEL[other])
                    right = np.diag(queries @ (removal_p(passages) if clean else passages).T)
                    lost += int((unrelated > right[:, None]).sum())
                    total += unrelated.size
        return lost / total

    assert beaten(clean=False) > 0.10  # the fault is there
    assert beaten(clean=True) < beaten(clean=False) / 2  # and at least halved


def test_unrelated_texts_have_no_similarity(embedder: Embedder) -> None:
    queries = fit_queries(embedder)(embedder.embed_queries(PARALLEL["ko"]))
    passages = fit_passages(embedder)(embedder.embed_passages(PARALLEL["en"]))
    unrelated = (queries @ passages.T)[~np.eye(7, dtype=bool)]
    assert abs(float(np.median(unrelated))) < 0.1
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
