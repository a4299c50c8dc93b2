"""Which of the served models answers a request: the one that it names, or one by its share of the queries.

    names none        the first model, or another one by its share
    names no version  the same, where that has the name; else the first one of that name
    names a version   that one

Shares are drawn by a hash of the query: a query gets the same model on every page, every day and from every replica.
Knows names, shares and `RelevanceService`; knows no HTTP and no Ray.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

from csrm.wire import Level, is_called
from csrm_serve.errors import NotReadyError, UnknownModelError
from csrm_serve.service import Answer, Readiness, RelevanceService
from csrm_serve.shares import check_shares, drawn


class How(TypedDict, total=False):
    """The arguments of `RelevanceService.judge` beside query and products."""

    locale: str | None
    threshold: float | None
    level: Level | None
    deadline_ms: float | None
    partial: bool
    arrived: float | None


class Models:
    """The models of an application, each with the service that answers for it.

    Args:
        services: by bundle, as the settings name it; the first is the one that is meant where none is named.
        shares: bundle -> share in [0, 1] of the queries that leave the model open; the first gets the rest.
    """

    def __init__(
        self, services: Mapping[str, RelevanceService], shares: Mapping[str, float] | None = None
    ) -> None:
        self._services = dict(services)
        self._first = next(iter(self._services))
        self._shares: dict[str, float] = {}
        self.share(shares or {})

    def share(self, shares: Mapping[str, float]) -> None:
        """Share out the queries anew.

        Raises:
            InputError: a bundle that is not served, or shares that are none; those before stay.
        """
        check_shares(shares, list(self._services)[1:])
        self._shares = {bundle: shares[bundle] for bundle in self._services if bundle in shares}

    async def judge(
        self,
        query: str,
        products: Sequence[str],
        *,
        model: str | None = None,
        draw: str | None = None,
        **how: Unpack[How],
    ) -> Answer:
        """`RelevanceService.judge` of the model that is asked for.

        Args:
            model: name of a model, with or without its version.
            draw: the text that shares are drawn by; the query if None.

        Raises:
            UnknownModelError: no such model is served.
            NotReadyError: the one that is asked for is not up. One that was only drawn is passed over.
        """
        bundle = await self._choose(model, query if draw is None else draw)
        try:
            return await self._services[bundle].judge(query, products, **how)
        except NotReadyError:
            if bundle == self._first or not self._open(model, await self._names()):
                raise
            return await self._services[self._first].judge(query, products, **how)

    async def name(self, model: str | None, draw: str) -> str:
        """Name and version of the model that answers; arguments and errors as in `judge`."""
        return await self._services[await self._choose(model, draw)].model()

    async def names(self) -> list[str]:
        """Names and versions of all that are up, the first model first.

        Raises:
            NotReadyError: none is.
        """
        names = [name for name in (await self._names()).values() if name is not None]
        if not names:
            await self._services[self._first].model()
        return list(dict.fromkeys(names))

    async def readiness(self) -> dict[str, Readiness]:
        """By bundle, the first model first: it alone must be ready for queries to be answered."""
        found = await asyncio.gather(*(service.readiness() for service in self._services.values()))
        return dict(zip(self._services, found, strict=True))

    async def _choose(self, model: str | None, draw: str) -> str:
        """The bundle whose model answers."""
        if model is None:
            return self._drawn(draw)
        names = await self._names()
        if self._open(model, names):
            bundle = self._drawn(draw)
            return bundle if _called(names[bundle], model) else self._first
        for bundle, name in names.items():
            if _called(name, model):
                return bundle
        known = [name for name in names.values() if name is not None]
        if len(known) < len(names):
            raise NotReadyError("Not every model is up yet: ask /readyz.")
        raise UnknownModelError(
            f"This service has no such model: ask for {' or '.join(dict.fromkeys(known))}, or leave model out."
        )

    def _open(self, model: str | None, names: Mapping[str, str | None]) -> bool:
        """Whether a request leaves open which of the first model's versions answers."""
        return model is None or ("@" not in model and _called(names[self._first], model))

    def _drawn(self, draw: str) -> str:
        return drawn(draw, self._shares) or self._first

    async def _names(self) -> dict[str, str | None]:
        async def name(service: RelevanceService) -> str | None:
            try:
                return await service.model()
            except NotReadyError:
                return None

        found = await asyncio.gather(*map(name, self._services.values()))
        return dict(zip(self._services, found, strict=True))


def _called(name: str | None, model: str) -> bool:
    """Whether a model of this name and version is meant."""
    return name is not None and is_called(name, model)
