"""Reference rows: what a bundle's model said of some products when it was written, and says wherever it is loaded.

Weights of the right shape load, whatever they are: a tokenizer with other words, an adapter of another base. The
numbers that come out are finite, and wrong. Knows rows and grades; knows no engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from csrm.bundle import ReferenceRow
from csrm.errors import BundleError

if TYPE_CHECKING:
    from csrm.model import RelevanceModel
    from csrm.wire import Level

QUERIES: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "running shoes size 42",
        "en",
        (),
        (
            "Trail running shoes, men, size 42, blue",
            "Running socks, 3 pairs",
            "Stainless steel saucepan, 2 l",
        ),
    ),
    (
        "zapatillas de correr mujer",
        "es",
        (),
        (
            "Zapatillas running para mujer, talla 38",
            "Plantillas para zapatillas",
            "Sartén antiadherente 28 cm",
        ),
    ),
    (
        "에어팟 케이스",
        "ko",
        ("에어팟 = AirPods",),
        ("AirPods Pro 실리콘 케이스, 블랙", "갤럭시 버즈 케이스", "주방용 칼 세트 5종"),
    ),
    (
        "子供用 自転車 16インチ",
        "ja",
        (),
        ("キッズバイク 16インチ 補助輪付き レッド", "自転車用ヘルメット 子供", "ステンレス 片手鍋 18cm"),
    ),
    (
        "手機殼 透明",
        "zh-TW",
        (),
        ("iPhone 15 透明防摔手機殼", "手機充電線 1公尺", "不鏽鋼湯鍋 24公分"),
    ),
)
"""Query, locale, lines of knowledge and products of the rows that are written."""

TOLERANCE = {"fp32": 0.01, "bf16": 0.03, "int8": 0.06}
"""Largest mean difference of a grade's probability from the reference, by precision.

The grades of csrm-gemma3-270m@4 in bf16 differ from those in fp32 by .0014 at level full and .0016 at fast, in int8 by
.022 and .014. Without its adapter they differ by .27; with noise of 2 % of their deviation on the base's weights by
.007, of 10 % by .043: int8 tells another adapter or base, but not such noise."""


def reference_rows(model: RelevanceModel) -> list[ReferenceRow]:
    """What a model says of ``QUERIES``; with an early exit, what its first layers say too.

    Args:
        model: in fp32, which is the same everywhere.
    """
    early = model.level() != "full"
    rows = []
    for query, locale, knowledge, products in QUERIES:
        found = {
            level: model.grade(query, products, locale=locale, knowledge=knowledge, level=level).tolist()
            for level in (("full", "fast") if early else ("full",))
        }
        rows += [
            ReferenceRow(
                query=query,
                locale=locale,
                knowledge=knowledge,
                product=product,
                grades=found["full"][place],
                early=found["fast"][place] if early else None,
            )
            for place, product in enumerate(products)
        ]
    return rows


def check_reference(model: RelevanceModel) -> None:
    """Compare what a model says now with what its bundle says that it must.

    Raises:
        BundleError: it grades otherwise; the message names bundle and likely causes.
    """
    rows = model.bundle.manifest.reference
    levels: list[Level] = ["full", "fast"] if model.level() != "full" else ["full"]
    for level in levels:
        expected = [row.grades if level == "full" else row.early for row in rows]
        if not rows or None in expected:
            continue
        found = _grades(model, rows, level)
        difference = float(np.abs(found - np.array(expected)).mean())
        if not difference <= TOLERANCE[model.precision]:
            raise BundleError(
                f"The bundle {model.name} grades its reference rows otherwise than when it was written: by "
                f"{difference:.2g} on the average at level {level}, and {TOLERANCE[model.precision]:.2g} is the most "
                f"in {model.precision}. Look whether base ({model.base}), tokenizer, adapter and exit belong together; "
                "if the change is wanted, run csrm calibrate."
            )


def _grades(model: RelevanceModel, rows: list[ReferenceRow], level: Level) -> NDArray[np.float32]:
    places: dict[tuple[str, str | None, tuple[str, ...]], list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault((row.query, row.locale, row.knowledge), []).append(place)
    grades = np.empty((len(rows), 4), dtype=np.float32)
    for (query, locale, knowledge), members in places.items():
        products = [rows[place].product for place in members]
        grades[members] = model.grade(query, products, locale=locale, knowledge=knowledge, level=level)
    return grades
