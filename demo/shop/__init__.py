"""The demo shop: over a thousand products in five languages, queries that break lexical search, judgments.

    data/        families, brands, devices, words, title patterns, queries: all of it written as data
    products     families drawn out into products        titles, wording   as sellers of each market write
    queries      what shoppers type, with their intent   judgments         E/S/C/I by written rules

Nothing here knows a model, a server or a score.
"""

from demo.shop.documents import documents
from demo.shop.judgments import judge
from demo.shop.products import ShopProduct, products
from demo.shop.queries import ShopQuery, queries
from demo.shop.schema import LOCALES

__all__ = ["LOCALES", "ShopProduct", "ShopQuery", "documents", "judge", "products", "queries"]
