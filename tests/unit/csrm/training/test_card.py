"""The model card of a calibrated bundle: the same sections in each, and figures that are those of its rows."""

from __future__ import annotations

import re

import numpy as np
import pytest

from csrm.bundle import EarlyExit, EncoderPart, Manifest
from csrm.calibration import Calibration
from csrm.evaluation.calibrating import CalibrationFit, Promise
from csrm.evaluation.cascading import CascadeFit, LevelFigures
from csrm.training.card import TO_FILL_IN, card
from csrm.training.data import LabelledPair

SECTIONS = ["Intended use", "Data and licences", "Figures", "Limits"]


def row(query: str, label: str, locale: str = "en", by: str = "human") -> LabelledPair:
    return LabelledPair(query=query, title="thing", label=label, locale=locale, label_by=by)  # type: ignore[arg-type]


FILES = [
    ("mine.jsonl", [row("a", "E"), row("a", "S"), row("b", "C"), row("b", "I")]),
    ("more.jsonl", [row("c", "E", "ja", "llm"), row("d", "I", "ja", "llm"), row("e", "S", "ko")]),
]
IRRELEVANCE = np.array([0.1, 0.6, 0.5, 0.9, 0.8, 0.3, 0.2])


def fit(threshold: float = 0.7, bound: float = 0.02) -> CalibrationFit:
    promise = Promise(threshold, relevant=4, lost=1, bound=bound, defects=3, removed=1)
    return CalibrationFit(Calibration(), {}, promise, {}, ece_before=0.2, ece_after=0.1)


LEVELS = CascadeFit(EarlyExit(layer=2), {"fast": LevelFigures(0.8, 0.1, 0.02, 0.0)})


@pytest.mark.parametrize("cascade", [None, LEVELS])
@pytest.mark.parametrize("adapter", [None, "of a training (mine@1)"])
@pytest.mark.parametrize("encoder", [None, EncoderPart(weight=0.3)])
def test_every_card_has_the_same_sections(
    cascade: CascadeFit | None, adapter: str | None, encoder: EncoderPart | None
) -> None:
    manifest = Manifest(name="mine", version=3, base="some/base", encoder=encoder)
    text = card(manifest, FILES, IRRELEVANCE, fit(), cascade, start="old@1", adapter=adapter, max_loss=0.02)
    assert text.startswith("# mine, version 3\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == ["Thresholds", *(["Levels"] if cascade else [])]
    parts = dict(zip(SECTIONS, re.split(r"^## .*$", text, flags=re.MULTILINE)[1:], strict=True))
    assert all(part.strip() for part in parts.values())
    asked = [
        part.count(f"\n{TO_FILL_IN} ")
        for part in (parts["Intended use"], parts["Data and licences"], parts["Limits"])
    ]
    assert asked == [1, 1 if adapter is None else 2, 1]
    assert ("multilingual-e5-small (MIT)" in parts["Data and licences"]) == (encoder is not None)


def test_a_card_counts_its_rows_and_tells_how_well_they_are_told_apart() -> None:
    manifest = Manifest(name="mine", version=3, base="some/base")
    text = card(manifest, FILES, IRRELEVANCE, fit(), None, start="old@1", adapter=None, max_loss=0.02)
    assert "in the locales that it was calibrated in: en, ja, ko." in text
    assert "- base `some/base`: its licence or terms of use apply" in text
    assert "- `mine.jsonl`: 4\n- `more.jsonl`: 3\n" in text
    assert "Labels by: human 5, llm 2." in text
    # of the 4 x 3 pairs of a relevant and an irrelevant row, .6 > .5, .6 > .3, .8 > .5 and .8 > .3 are the wrong way
    assert re.search(
        r"^\| all \| 7 \| 2 \| 2 \| 1 \| 2 \| 0\.667 \[\d\.\d{3}, \d\.\d{3}\] \|$", text, re.MULTILINE
    )
    assert re.search(r"^\| en \| 4 \| 1 \| 1 \| 1 \| 1 \| 0\.750 \[", text, re.MULTILINE)
    assert re.search(r"^\| ja \| 2 \| 1 \| 0 \| 0 \| 1 \| 0\.000", text, re.MULTILINE)
    assert "| ko | 1 | 0 | 1 | 0 | 0 | not to be told |" in text
    assert "| all | 0.7000 | 1 of 4 | 2.00% | 1 of 3 |" in text
    assert "Nothing is removed" not in text
    nothing = card(
        manifest, FILES[:1], IRRELEVANCE[:4], fit(1.0, 0.0), None, start="old@1", adapter=None, max_loss=0.02
    )
    assert "**Nothing is removed at the threshold of all:**" in nothing
    assert nothing.count("| en | 4 |") == 1 and "| all | 4 |" not in nothing


def test_what_is_not_known_is_said() -> None:
    text = card(
        Manifest(name="mine", version=3, base="some/base"),
        *(FILES, IRRELEVANCE, fit(), None),
        start="old@1",
        adapter=None,
        max_loss=0.02,
    )
    limits = text.partition("## Limits")[2]
    assert "No locale has enough relevant rows" in limits
    assert "In other locales" in limits
    assert "sees titles" in limits
