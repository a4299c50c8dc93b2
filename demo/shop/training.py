"""Labelled pairs from the families that may be trained on: ``python -m demo.shop.training FOLDER``.

Writes ``FOLDER/shop/pairs.jsonl``, rows as `csrm train` reads them, and ``FOLDER/shop/knowledge.jsonl``, the shop's
knowledge without that of held-out families. Queries are composed from names, brands, devices and attributes; the
grades are those of `demo.shop.judgments`. No query of ``data/queries.yaml`` and no held-out family is in it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from csrm.knowledge import dump_entries
from demo.shop import draw
from demo.shop.intents import Intent
from demo.shop.judgments import grade
from demo.shop.knowledge import knowledge_entries
from demo.shop.products import ShopProduct, products
from demo.shop.queries import queries
from demo.shop.schema import LOCALES, Family, brands, families, held_out_families, words
from demo.shop.wording import device_forms, value_forms

QUERIES_A_FAMILY = 3
_NEAREST = {"E": 1, "S": 1, "C": 2, "I": 2}
"""Products of each grade a query is paired with: those whose titles share most with it; one more drawn freely."""


def trained_families() -> frozenset[str]:
    """The families that a model may be trained on."""
    return frozenset(families()) - held_out_families()


def pairs() -> Iterator[dict[str, str]]:
    """Rows ``{"query", "title", "label", "locale", "label_by"}``, the same at every call."""
    shelf = [product for product in products() if product.family in trained_families()]
    for family in families().values():
        if family.id not in trained_families():
            continue
        for locale in LOCALES:
            asked = {query.text.casefold() for query in queries(locale)}
            for number in range(QUERIES_A_FAMILY):
                text, intent = _query(family, locale, number)
                if text.casefold() in asked:
                    continue
                asked.add(text.casefold())
                for product, label in _chosen(text, intent, locale, shelf):
                    yield {
                        "query": text,
                        "title": product.titles[locale],
                        "label": label,
                        "locale": locale,
                        "label_by": "shop",
                    }


def _query(family: Family, locale: str, number: int) -> tuple[str, Intent]:
    """A query for a family and what it means: the name and none to two things the shopper wants of it."""
    seed = (family.id, locale, number)
    names = family.names[locale] if draw.chance(0.85, *seed, "spelled") else family.typos[locale]
    name = draw.pick(names, *seed, "name")
    meaning: dict[str, object] = {"families": (family.id,)}
    before: list[str] = []
    after: list[str] = []
    for wish in draw.shuffled(_wishes(family), *seed)[: draw.number(*seed, "wishes") % 3]:
        if wish == "brand":
            brand = draw.pick([name for name in family.brands if not brands()[name].real], *seed, wish)
            known = brands()[brand]
            before.append(
                draw.pick([known.latin, known.local(locale), known.latin.lower(), *known.typos[:1]], *seed)
            )
            meaning["brands"] = (brand,)
        elif wish == "device":
            device = draw.pick([*family.devices, *family.fitted], *seed)
            before.append(draw.pick(device_forms(device, locale), *seed))
            meaning["fits"] = (device,)
        elif wish == "feature":
            feature = draw.pick(family.features, *seed, wish)
            (before if locale in ("ko", "ja", "zh-TW") else after).append(
                words()["features"][feature][locale][0].lower()
            )
            meaning["features"] = (feature,)
        else:
            value = draw.pick(family.axes[wish], *seed, wish)
            said = draw.pick(value_forms(wish, value, locale), *seed, wish).lower()
            early = wish in ("color", "gender", "type", "material") and locale != "es"
            (before if early else after).append(said)
            meaning.setdefault("require", {})[wish] = (value,)  # type: ignore[index]
    return " ".join([*before, name, *after]), Intent.model_validate(meaning)


def _wishes(family: Family) -> list[str]:
    named = family.devices or family.fits
    return [
        *(["brand"] if family.brands else []),
        *(["device", "device"] if named else []),
        *(["feature"] if family.features else []),
        *family.axes,
    ]


def _chosen(
    text: str, intent: Intent, locale: str, shelf: list[ShopProduct]
) -> Iterator[tuple[ShopProduct, str]]:
    """Products of each grade: mostly those that a lexical search would confuse, for they are what is judged."""
    typed = _pieces(text)
    graded: dict[str, list[ShopProduct]] = {label: [] for label in _NEAREST}
    for product in shelf:
        graded[grade(intent, product)].append(product)
    for label, count in _NEAREST.items():
        near = sorted(
            graded[label],
            key=lambda product: (
                -len(typed & _pieces(product.titles[locale])),
                draw.number(text, product.id),
            ),
        )
        taken = near[:count]
        if far := near[count:]:
            taken.append(draw.pick(far, text, locale, label))
        for product in taken:
            yield product, label


def _pieces(text: str) -> set[str]:
    """Words, and pairs of neighbouring characters: what an analyzer for any of the languages finds."""
    folded = text.casefold()
    return {
        *folded.split(),
        *(folded[i : i + 2] for i in range(len(folded) - 1) if " " not in folded[i : i + 2]),
    }


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.shop.training", description="Training rows of the demo shop."
    )
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder / "shop"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "pairs.jsonl").open("w", encoding="utf-8") as file:
        for row in pairs():
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    (folder / "knowledge.jsonl").write_bytes(dump_entries(knowledge_entries(trained_families())))
    sys.stdout.write(f"{folder}\n")


if __name__ == "__main__":
    main()
