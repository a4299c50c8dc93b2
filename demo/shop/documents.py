"""The shop's products as OpenSearch documents of one locale. Knows the fields of the products template."""

from __future__ import annotations

from typing import Any

from demo.shop.products import products
from demo.shop.schema import brands, families


def documents(locale: str) -> list[dict[str, Any]]:
    """All products as a shop of that locale would index them, in a stable order."""
    return [
        {
            "id": product.id,
            "title": product.titles[locale],
            "brand": brands()[product.brand].latin,
            "category": families()[product.family].category[locale][0],
            "price": product.prices[locale],
        }
        for product in products()
    ]
