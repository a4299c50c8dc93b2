"""Every error of the demo shop's data.

ShopError
└── ShopDataError   a data file is missing, or says something that the rules cannot use
"""

from __future__ import annotations


class ShopError(Exception):
    """Base of the demo shop's errors."""


class ShopDataError(ShopError):
    """A data file is missing, or says something that the rules cannot use; the message names both."""
