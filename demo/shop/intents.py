"""What a shopper means by a query, as data: the families wanted, what they must have and must not have.

Knows no text and no grade.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Intent(BaseModel):
    """The meaning of a query. Attribute maps go from an attribute to its accepted (or unwanted) values.

    Attributes:
        families: any of these is the thing wanted.
        also: families that would do for this shopper, though they are not what was asked for.
        brands: any of these makers; empty for any.
        fits: any of these devices: what an accessory must fit, or which model of the thing itself is wanted.
        require: attributes the product must have.
        features: features it must have, all of them.
        at_least, at_most: bounds of amounts, in the unit of the values: ``{"size": 20}``.
        exclude: attributes (or ``features``) that the shopper does not want, though the product can be used.
        never: attributes (or ``features``) that make the product useless or harmful to this shopper.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    families: tuple[str, ...] = Field(min_length=1)
    also: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    fits: tuple[str, ...] = ()
    require: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    features: tuple[str, ...] = ()
    at_least: dict[str, float] = Field(default_factory=dict)
    at_most: dict[str, float] = Field(default_factory=dict)
    exclude: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    never: dict[str, tuple[str, ...]] = Field(default_factory=dict)
