"""The gateway's settings: one commented YAML file with the nodes, the relevance service and the profiles.

A profile says for which indices searches are reranked and how. Knows YAML and names of indices; no search.
``profiles.example.yaml`` beside this module is the commented example.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from csrm.wire import MAX_PRODUCTS, Level, Locale, ModelName
from csrm_opensearch.errors import ProfileError

EXAMPLE = Path(__file__).with_name("profiles.example.yaml")

HttpUrl = Annotated[str, Field(pattern=r"^https?://[^/\s]+(/\S*)?$")]
FieldPath = Annotated[str, Field(min_length=1, pattern=r"^[^\s*]+$")]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OpenSearchSettings(_Settings):
    """Where OpenSearch is. Several nodes are tried in turn; the clients' own credentials are forwarded."""

    urls: list[HttpUrl] = Field(default=["http://127.0.0.1:9200"], min_length=1)
    connect_timeout_ms: float = Field(default=3_000, gt=0)
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    verify: bool = True


class BreakerSettings(_Settings):
    """After ``failures`` in a row nothing is asked for ``cooldown_ms``; then one probe."""

    failures: int = Field(default=5, ge=1)
    cooldown_ms: float = Field(default=5_000, gt=0)


class RelevanceSettings(_Settings):
    """Where the relevance service is, where its key is kept, and how hard it may be asked."""

    url: HttpUrl = "http://127.0.0.1:8000"
    key_file: Path | None = None
    key_env: str | None = None
    max_in_flight: int = Field(default=16, ge=1)
    breaker: BreakerSettings = BreakerSettings()

    @model_validator(mode="after")
    def _one_place_of_the_key(self) -> RelevanceSettings:
        if self.key_file is not None and self.key_env is not None:
            raise ValueError("key_file and key_env both say where the key is: keep one of them")
        return self


class RecordSettings(_Settings):
    """One JSON line a search; the shoppers' text is in it only where that is said."""

    file: Path | None = None
    query_text: bool = False


class LocaleByIndex(_Settings):
    """The locale follows from the index's name: the first pattern that fits, in the order of the file."""

    by_index: dict[str, Locale] = Field(min_length=1)


class LocaleFromField(_Settings):
    """The locale stands in a field of each product; the most frequent one of the window counts."""

    field: FieldPath


class FieldWeight(_Settings):
    """A number field of a product, the highest value first, and how much its order counts."""

    name: FieldPath
    weight: float = Field(gt=0)


class Blend(_Settings):
    """How much each order counts in the sum of reciprocal ranks: relevance, lexical, a business field."""

    relevance: float = Field(default=1.0, ge=0)
    lexical: float = Field(default=0.0, ge=0)
    field: FieldWeight | None = None


class Traffic(_Settings):
    """An A/B test: of which visitors the searches are reranked, and what tells visitors apart."""

    share: float = Field(ge=0, le=1)
    by: str = Field(pattern=r"^(header:[\w-]+|cookie:[\w-]+|ubi)$")


class Profile(_Settings):
    """How searches on some indices are reranked. See the example file for what each field means."""

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    indices: list[Annotated[str, Field(min_length=1, pattern=r"^[^\s,]+$")]] = Field(min_length=1)
    text_fields: list[FieldPath] = Field(min_length=1)
    locale: Locale | LocaleByIndex | LocaleFromField | None = None
    mode: Literal["on", "shadow", "off"] = "on"
    traffic: Traffic | None = None
    window: int = Field(default=100, ge=1, le=MAX_PRODUCTS)
    threshold: float | None = Field(default=None, ge=0, le=1)
    model: ModelName | None = None
    level: Level | None = None
    time_budget_ms: float = Field(default=1_000, gt=0)
    min_keep: int = Field(default=1, ge=0)
    max_window: int | None = Field(default=None, ge=1, le=10_000)
    enough: int = Field(default=10, ge=1)
    blend: Blend | None = None
    tail: Literal["show", "hide"] = "show"
    query_path: str | None = Field(default=None, pattern=r"^(/[^/]*)+$")
    query_fields: list[str] | None = Field(default=None, min_length=1)
    playground_fields: list[str] | None = Field(default=None, min_length=1)

    @field_validator("mode", mode="before")
    @classmethod
    def _yaml_switch(cls, value: object) -> object:
        """YAML 1.1 reads a bare ``on`` as true."""
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _windows_fit(self) -> Profile:
        if self.max_window is not None and self.max_window < self.window:
            raise ValueError(f"max_window must be at least the window ({self.window})")
        return self

    @property
    def fetched_fields(self) -> tuple[str, ...]:
        """The fields of a product that a window is fetched with."""
        names = dict.fromkeys(self.text_fields)
        if isinstance(self.locale, LocaleFromField):
            names[self.locale.field] = None
        if self.blend and self.blend.field:
            names[self.blend.field.name] = None
        return tuple(names)

    def covers(self, index: str) -> bool:
        """Whether every index that the name or wildcard expression ``index`` can mean fits a pattern."""
        return any(_fits(pattern, index) for pattern in self.indices)

    def locale_of(self, indices: Iterable[str], field_values: Iterable[str] = ()) -> str | None:
        """The locale of a search, or null where it is unknown or the indices disagree.

        Args:
            indices: names of the indices searched, or those of the hits.
            field_values: those of the locale's field in the window, where the profile reads it from there.
        """
        match self.locale:
            case LocaleByIndex(by_index=by_index):
                found = {
                    next((loc for pat, loc in by_index.items() if _fits(pat, name)), None) for name in indices
                }
                return found.pop() if len(found) == 1 else None
            case LocaleFromField():
                values = [value for value in field_values if re.fullmatch(LOCALE_TAG, value)]
                return max(values, key=values.count) if values else None
            case fixed:
                return fixed


LOCALE_TAG = r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*"


class GatewaySettings(_Settings):
    """Everything the gateway is told."""

    opensearch: OpenSearchSettings = OpenSearchSettings()
    relevance: RelevanceSettings = RelevanceSettings()
    records: RecordSettings = RecordSettings()
    dashboard_url: HttpUrl | None = None
    profiles: list[Profile] = []

    @field_validator("profiles")
    @classmethod
    def _names_differ(cls, profiles: list[Profile]) -> list[Profile]:
        names = [profile.name for profile in profiles]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two profiles are named {twice[0]!r}: give each its own name")
        return profiles

    @cached_property
    def playground_profiles(self) -> list[dict[str, Any]]:
        """What the playground may know of the profiles."""
        return [
            {
                "name": profile.name,
                "indices": profile.indices,
                "search_fields": profile.playground_fields or profile.text_fields,
                "window": profile.window,
                "min_keep": profile.min_keep,
                "threshold": profile.threshold,
                "model": profile.model,
                "time_budget_ms": profile.time_budget_ms,
                "mode": profile.mode,
            }
            for profile in self.profiles
        ]

    @cached_property
    def models(self) -> list[str]:
        """The models that profiles name."""
        return list(dict.fromkeys(profile.model for profile in self.profiles if profile.model is not None))

    def profile_for(self, expression: str) -> Profile | None:
        """The profile of an index expression such as ``shop-ko``, ``shop-ko,shop-ja`` or ``shop-*``.

        The first profile that covers every index the expression can mean; null where there is none, so that
        a search over foreign indices is never touched. Excluded names (``-shop-old``) only narrow. An empty
        expression and ``_all`` mean every index: only a profile on ``*`` covers them.
        """
        names = ["*" if name == "_all" else name for name in expression.split(",") if name] or ["*"]
        names = [name for place, name in enumerate(names) if place == 0 or not name.startswith("-")]
        return next((p for p in self.profiles if all(p.covers(name) for name in names)), None)


def load_settings(path: Path, **overrides: object) -> GatewaySettings:
    """Read the settings file.

    Args:
        path: the YAML file.
        overrides: values that stand above the file's, by path with ``__`` between the names
            (``relevance__url``); null leaves the file's.

    Raises:
        ProfileError: with the file, the path of the field in it, and what is wrong.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(
            f"{path} cannot be read ({error.strerror}): give the profiles file's path."
        ) from error
    except UnicodeDecodeError as error:
        raise ProfileError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ProfileError(f"{path}{where}: {problem}; correct the YAML there.") from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ProfileError(f"{path}: the top must be a mapping with a list of 'profiles'.")
    for dotted, value in overrides.items():
        if value is not None:
            _put(document, dotted.split("__"), value)
    try:
        return GatewaySettings.model_validate(document)
    except ValidationError as error:
        first, more = error.errors()[0], error.error_count() - 1
        also = f" (and {more} more)" if more else ""
        raise ProfileError(f"{path}: {_where(first['loc'])}: {_what(first)}{also}.") from error


def _put(document: dict[str, Any], path: list[str], value: object) -> None:
    *parents, last = path
    for key in parents:
        child = document.get(key)
        if not isinstance(child, dict):
            child = document[key] = {}
        document = child
    document[last] = value


def _where(location: tuple[int | str, ...]) -> str:
    """``profiles[0].window``; pydantic's own names for the members of a union are left out."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "(" not in part and "[" not in part and part not in {"LocaleByIndex", "LocaleFromField"}:
            text += f".{part}" if text else part
    return text or "top"


def _what(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if error["type"] == "extra_forbidden":
        return "no such field; see profiles.example.yaml for those there are"
    return message if error["type"] == "missing" else f"{message}, not {error['input']!r:.80}"


def _fits(pattern: str, index: str) -> bool:
    """Whether ``index``, itself a name or a wildcard expression, only means names that fit ``pattern``.

    ``*`` in the pattern also matches a literal ``*`` of the expression, which is what makes ``shop-*`` cover
    ``shop-k*`` but not ``*``.
    """
    return _compiled(pattern).fullmatch(index) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))))
