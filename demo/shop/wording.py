"""Attributes, amounts, brands and devices as they are said in a locale, by sellers and by shoppers.

Knows words.yaml, units.yaml, brands.yaml and devices.yaml; knows neither products nor judgments.
"""

from __future__ import annotations

from demo.shop import draw
from demo.shop.schema import brands, devices, units, words


def value_forms(axis: str, value: str, locale: str) -> tuple[str, ...]:
    """How a value of an attribute is said, the sellers' form first: ``("size", "500 ml", "ko") -> ("500ml", ...)``."""
    known = words().get(axis, {})
    if value in known:
        return known[value][locale]
    amount, _, unit = value.partition(" ")
    return tuple(form.format(**_conversions(float(amount))) for form in units()[unit][locale])


def _conversions(amount: float) -> dict[str, str]:
    return {
        "n": f"{amount:g}",
        "oz": f"{amount / 29.5735:.1f}".removesuffix(".0"),
        "oz_g": f"{amount / 28.3495:.1f}".removesuffix(".0"),
        "lb": f"{amount * 2.20462:.1f}".removesuffix(".0"),
        "inch": f"{amount / 2.54:.1f}".removesuffix(".0"),
        "ft": f"{amount * 3.28084:.1f}".removesuffix(".0"),
    }


def brand_in_title(brand: str, locale: str, seed: str) -> str:
    """A brand as some seller spells it: Latin, the market's script, or both."""
    known = brands()[brand]
    latin, local = known.latin, known.local(locale)
    if latin == local:
        return draw.pick([latin, latin, latin, latin.upper()], seed, "brand")
    styles = {
        "ko": [local, local, local, latin, f"{local} {latin}", f"{latin} {local}"],
        "ja": [latin, latin, local, f"{local}({latin})", f"{latin} {local}", f"{latin}({local})"],
        "zh-TW": [latin, latin, f"{latin} {local}", f"{local}", f"{latin}{local}"],
    }
    return draw.pick(styles[locale], seed, "brand", locale)


def device_forms(device: str, locale: str) -> tuple[str, ...]:
    """How shoppers name a device, without its brand."""
    return devices()[device].name[locale]


def device_in_title(device: str, locale: str, seed: str) -> str:
    """A device as a seller names it: with its brand, unless nobody says it."""
    known = devices()[device]
    name = known.name[locale][0]
    if not known.with_brand:
        return name
    spelled = brands()[known.brand]
    brand = draw.pick([spelled.latin, spelled.local(locale)], seed, device, locale)
    return f"{brand} {name}"


def devices_in_title(fits: tuple[str, ...], locale: str, seed: str) -> str:
    """``Lumera Nova 12 / Nova 11``: the brand once when all share it."""
    first, *others = fits
    rest = [
        device_forms(device, locale)[0]
        if devices()[device].brand == devices()[first].brand
        else device_in_title(device, locale, seed)
        for device in others
    ]
    return " / ".join([device_in_title(first, locale, seed), *rest])
