"""Judgments for the tests of the rules."""

from __future__ import annotations

from hypothesis import strategies as st

from csrm.wire import GradeProbabilities, Judgment


def judgment(
    score: float = 0.5, irrelevance: float = 0.1, *, remove: bool = False, index: int = 0
) -> Judgment:
    """A judgment; its grades do not matter to the rules."""
    return Judgment(
        index=index,
        grades=GradeProbabilities(E=score, S=0.0, C=0.0, I=1 - score),
        score=score,
        irrelevance=irrelevance,
        decision="remove" if remove else "keep",
    )


figures = st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0])
judgments = st.lists(
    st.none() | st.builds(lambda s, i, r: judgment(s, i, remove=r), figures, figures, st.booleans()),
    max_size=30,
)
