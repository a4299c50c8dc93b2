"""How queries are shared out between versions of a model. Knows shares and a hash; knows no model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from csrm.errors import InputError


def drawn(text: str, shares: Mapping[str, float]) -> str | None:
    """Whose share a text falls into; none's if None. It depends on the text and the shares alone."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    for name, share in shares.items():
        if place < share:
            return name
        place -= share
    return None


def check_shares(shares: Mapping[str, float], bundles: Sequence[str]) -> None:
    """Raise InputError unless each share belongs to one of the bundles and they can be given together."""
    for bundle, share in shares.items():
        if bundle not in bundles:
            raise InputError(
                f"shares: {bundle} is not among the further bundles ({', '.join(bundles) or 'none'})."
            )
        if not 0 <= share <= 1:
            raise InputError(f"shares: {bundle} has {share:g}, which is not from 0 to 1.")
    if (total := sum(shares.values())) > 1:
        raise InputError(f"shares: {total:g} in all, at most 1 can be given away.")
