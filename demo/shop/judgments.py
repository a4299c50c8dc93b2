"""Grades of (intent, product) pairs by written rules; the demo's yardstick.

The grades are those of the Shopping Queries data set (Reddy et al. 2022, arXiv 2206.06588, section 3):

    E exact       relevant for the query and satisfies all its specifications
    S substitute  somewhat relevant: misses some aspect of the query, but can be used as a functional substitute
    C complement  does not fulfil the query, but can be used in combination with an exact item
    I irrelevant  none of these, or misses a central aspect of the query

The rules, in the order in which they are asked. A product title states everything that they look at.

    1. A product of a wanted family
       a. that is made for other devices than the wanted ones is I: a case for another phone cannot be used.
          A product that names no device is universal.
       b. with an attribute that the shopper must never get (``never``) is I.
       c. that misses a required brand, model, attribute, feature or bound, or has an unwanted attribute
          (``exclude``), is S, however many it misses: it still does the work.
       d. is E otherwise.
    2. A product of a family that can do the work of a wanted one (declared with the family as ``substitutes``,
       or with the intent as ``also``) is S, unless 1a or 1b makes it I.
    3. A product of a family used together with a wanted one (accessory, part, consumable, or the thing that the
       accessory is for, or declared as ``goes_with``) is C, if it can be used with an exact item:
       a. where the query names a device or, for the thing itself, a brand of devices, the product must fit or be
          one of those devices; universal ones do;
       b. a consumable for some types of its host (capsules, beans) goes with hosts of those types only;
       c. what must agree between the two (type of guitar and strings, size of pan and lid) must agree with what
          the query requires.
       It is I where it cannot.
    4. Everything else is I, whatever words its title shares with the query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from demo.shop.intents import Intent
from demo.shop.schema import Family, Grade, devices, families

if TYPE_CHECKING:
    from demo.shop.products import ShopProduct
    from demo.shop.queries import ShopQuery


def judge(query: ShopQuery, product: ShopProduct) -> Grade:
    """The grade of a product for what the shopper meant by a query, by the rules of this module."""
    return grade(query.intent, product)


def grade(intent: Intent, product: ShopProduct) -> Grade:
    """The grade of a product for an intent, by the rules of this module."""
    if product.family in intent.families:
        if _fits_other_devices(intent, product) or _has_any(product, intent.never):
            return "I"
        return "E" if satisfies(intent, product) else "S"
    if _does_the_work(intent, product):
        return "I" if _fits_other_devices(intent, product) or _has_any(product, intent.never) else "S"
    if any(_used_together(intent, families()[wanted], product) for wanted in intent.families):
        return "C"
    return "I"


def satisfies(intent: Intent, product: ShopProduct) -> bool:
    """Rule 1c: nothing required is missed and nothing unwanted is there. The family is not looked at."""
    return (
        (not intent.brands or product.brand in intent.brands)
        and (not intent.fits or product.device is None or product.device in intent.fits)
        and not (intent.fits and families()[product.family].devices and product.device is None)
        and all(product.attributes.get(axis) in accepted for axis, accepted in intent.require.items())
        and set(intent.features) <= set(product.features)
        and all(_amount(product, axis) >= bound for axis, bound in intent.at_least.items())
        and all(0 <= _amount(product, axis) <= bound for axis, bound in intent.at_most.items())
        and not _has_any(product, intent.exclude)
    )


def related(one: Family, other: Family) -> bool:
    """Rule 3: whether products of the two families are used together."""
    return (
        other.id in one.accessory_of
        or one.id in other.accessory_of
        or other.id in one.goes_with
        or one.id in other.goes_with
    )


def _does_the_work(intent: Intent, product: ShopProduct) -> bool:
    return product.family in intent.also or bool(
        set(families()[product.family].substitutes) & set(intent.families)
    )


def _fits_other_devices(intent: Intent, product: ShopProduct) -> bool:
    """Rule 1a: the product names the devices that it fits, and none of the wanted ones is among them."""
    return bool(intent.fits and product.fits and not set(product.fits) & set(intent.fits))


def _used_together(intent: Intent, wanted: Family, product: ShopProduct) -> bool:
    offered = families()[product.family]
    if not related(wanted, offered):
        return False
    meant = _devices_meant(intent, wanted)
    named = set(product.fits) | ({product.device} if product.device else set())
    if meant and named and not named & meant:
        return False
    if meant and not named and _hosts_that_fit(wanted, offered):
        return False
    accessory, host_type = (
        (wanted, product.attributes.get("type")) if offered.id in wanted.accessory_of
        else (offered, next(iter(intent.require.get("type", ())), None))
    )  # fmt: skip
    if accessory.host_types and host_type is not None and host_type not in accessory.host_types:
        return False
    shared = {*wanted.same, *offered.same}
    return all(
        product.attributes.get(axis) in accepted
        for axis, accepted in intent.require.items()
        if axis in shared
    )


def _devices_meant(intent: Intent, wanted: Family) -> set[str]:
    """Rule 3a: the devices of the query, also those of a brand where the thing itself is wanted."""
    if intent.fits:
        return set(intent.fits)
    if intent.brands and wanted.devices:
        return {device for device in wanted.devices if devices()[device].brand in intent.brands}
    return set()


def _hosts_that_fit(wanted: Family, offered: Family) -> bool:
    """An accessory for named devices is wanted and its host is offered, but of no named device."""
    return offered.id in wanted.accessory_of and bool(wanted.fits) and bool(offered.devices)


def _has_any(product: ShopProduct, unwanted: Mapping[str, tuple[str, ...]]) -> bool:
    return any(
        bool(set(product.features) & set(values))
        if axis == "features"
        else product.attributes.get(axis) in values
        for axis, values in unwanted.items()
    )


def _amount(product: ShopProduct, axis: str) -> float:
    """The amount of an attribute in its own unit; -1 where the product states none."""
    number = product.attributes.get(axis, "").partition(" ")[0]
    try:
        return float(number)
    except ValueError:
        return -1.0
