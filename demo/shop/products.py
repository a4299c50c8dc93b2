"""The shop's products: every family drawn out into brands, models and attributes; the same in all locales.

Knows families and draws from their ids alone; how a product is said is in ``demo.shop.titles``.
"""

from __future__ import annotations

from functools import cache

from demo.shop import draw
from demo.shop.schema import LOCALES, Family, devices, families, title_styles
from demo.shop.titles import Facts, title

_CURRENCY = {"en": 1.0, "es": 0.95, "ko": 1350.0, "ja": 150.0, "zh-TW": 32.0}


class ShopProduct(Facts):
    """One product: its facts, which no locale changes, and its title and price in each locale."""

    titles: dict[str, str]
    prices: dict[str, float]


@cache
def products() -> tuple[ShopProduct, ...]:
    """All products in a stable order, families together."""
    return tuple(product for family in families().values() for product in _of_family(family))


def _of_family(family: Family) -> list[ShopProduct]:
    made: list[ShopProduct] = []
    facts: set[str] = set()
    told: dict[str, set[str]] = {locale: set() for locale in LOCALES}
    for index in range(family.n):
        for attempt in range(200):
            drawn = _draw(family, index, attempt)
            titles = {locale: title(drawn, locale) for locale in LOCALES}
            same = drawn.model_dump_json(exclude={"id", "aside"})
            if same not in facts and all(titles[locale] not in told[locale] for locale in LOCALES):
                break
        facts.add(same)
        for locale in LOCALES:
            told[locale].add(titles[locale])
        made.append(ShopProduct(**drawn.model_dump(), titles=titles, prices=_prices(family, drawn.id)))
    return made


def _draw(family: Family, index: int, attempt: int) -> Facts:
    """Product number ``index``: brands, devices and values come round in turn, so that all are there."""
    product_id = f"{family.id.replace('_', '-')}-{index + 1:02d}"
    seed = (product_id, attempt)
    makers = [("device", device) for device in family.devices for _ in range(2)]
    makers += [("brand", brand) for brand in family.brands for _ in range(2 if family.devices else 1)]
    kind, maker = (
        draw.shuffled(makers, family.id, "makers")[index % len(makers)]
        if index < len(makers)
        else (draw.pick(makers, *seed, "maker"))
    )
    values = {
        axis: _turn(choices, index, family.id, axis) if attempt == 0 else draw.pick(choices, *seed, axis)
        for axis, choices in family.axes.items()
    }
    device = None
    if kind == "device":
        device, maker = maker, devices()[maker].brand
        if fixed := devices()[device].type:
            values["type"] = fixed
    fits: tuple[str, ...] = ()
    if family.fits:
        own = tuple(fit for fit in family.fits if devices()[fit.split("+")[0]].brand == maker)
        fits = tuple(_turn(own or family.fits, index, family.id, "fits").split("+"))
    wanted = min(len(family.features), draw.number(*seed, "features") % 3 if index % 4 else 2)
    features = tuple(draw.shuffled(family.features, *seed, "features")[:wanted])
    line = ""
    if family.model and device is None:
        pool = title_styles().models[family.model]
        line = f"{draw.number(*seed, 'line') % len(pool)}:{draw.pick(['', '2', '3', 'S', 'Pro'], *seed, 'suffix')}"
    aside = draw.number(*seed, "aside") % len(family.distractors) if family.distractors else None
    if not draw.chance(0.5, *seed, "with aside"):
        aside = None
    return Facts(
        id=product_id, family=family.id, brand=maker, attributes=values, features=_consistent(values, features),
        device=device, fits=fits, line=line, aside=aside,
    )  # fmt: skip


_CONTRARY = (
    ("spf50", "spf30"),
    ("warm", "daylight"),
    ("usb_c", "lightning"),
    ("wallet", "magsafe"),
    ("wired", "bluetooth"),
    ("wired", "rechargeable"),
    ("ceramic", "damascus"),
    ("digital", "chrono"),
    ("silica", "clumping"),
)


def _consistent(attributes: dict[str, str], features: tuple[str, ...]) -> tuple[str, ...]:
    """Without the features that contradict an attribute or an earlier feature."""
    kept: list[str] = []
    for feature in features:
        stated = {*attributes.values(), *kept}
        if not any(feature in pair and stated & (set(pair) - {feature}) for pair in _CONTRARY):
            kept.append(feature)
    return tuple(kept)


def _turn(choices: tuple[str, ...], index: int, family: str, axis: str) -> str:
    """Choices in turn, each round in another order."""
    round_, place = divmod(index, len(choices))
    # Places, not values, are shuffled: a value that is listed twice comes twice as often.
    return choices[draw.shuffled(range(len(choices)), family, axis, round_)[place]]


def _prices(family: Family, product_id: str) -> dict[str, float]:
    low, high = family.price
    base = low + (high - low) * (draw.number(product_id, "price") % 1000) / 1000
    prices = {}
    for locale, rate in _CURRENCY.items():
        amount = base * rate
        prices[locale] = {"ko": round(amount, -2), "ja": round(amount, -1), "zh-TW": round(amount)}.get(
            locale, int(amount) + 0.99
        )
    return prices
