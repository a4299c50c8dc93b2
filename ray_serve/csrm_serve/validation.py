"""Turns what pydantic says of a bad request into one sentence that names the field: ``products[3]: empty``.

Knows pydantic's error types; knows no HTTP. Never quotes the input: it may be large, and it is the shopper's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from csrm.errors import CsrmError, InputError
from csrm_serve.errors import BadBodyError

SHOWN_PROBLEMS = 3


def explain(problems: Sequence[Mapping[str, Any]]) -> CsrmError:
    """The error that stands for pydantic's list of problems.

    Args:
        problems: as `pydantic.ValidationError.errors` or FastAPI's `RequestValidationError.errors` give them.

    Returns:
        BadBodyError when the body is no JSON object at all, else InputError.
    """
    for problem in problems:
        if problem["type"] == "json_invalid":
            what = problem.get("ctx", {}).get("error", "it cannot be parsed")
            return BadBodyError(f"The body is not JSON ({what}): send one JSON object in UTF-8.")
        if tuple(problem["loc"]) == ("body",):  # also of several shapes none
            return BadBodyError(
                "The body is not a JSON object: send one, with the header Content-Type: application/json."
            )
    phrases = list(dict.fromkeys(f"{_field(problem['loc'])}: {_what(problem)}" for problem in problems))
    shown = "; ".join(phrases[:SHOWN_PROBLEMS])
    more = len(phrases) - SHOWN_PROBLEMS
    return InputError(f"{shown}; and {more} more." if more > 0 else f"{shown}.")


def _field(location: Sequence[str | int]) -> str:
    """``("body", "products", 3)`` as ``products[3]``."""
    name = ""
    for part in location[1:] if location and location[0] == "body" else location:
        if isinstance(part, str) and part.startswith("("):  # the tag of a shape, no field
            continue
        if isinstance(part, int):
            name += f"[{part}]"
        elif not name:
            name = part
        else:
            name += f".{part}"
    return name or "body"


def _what(problem: Mapping[str, Any]) -> str:
    context = problem.get("ctx") or {}
    value = problem.get("input")
    match problem["type"]:
        case "missing":
            return "required"
        case "extra_forbidden":
            return "unknown field"
        case "string_too_short":
            return "empty"
        case "string_too_long":
            length = f"{len(value):,} characters, " if isinstance(value, str) else ""
            return f"{length}at most {context['max_length']:,} are allowed"
        case "too_short":
            return "empty, at least one is needed"
        case "too_long":
            length = f"{len(value):,} items, " if isinstance(value, list) else ""
            return f"{length}at most {context['max_length']:,} are allowed"
        case "string_unicode":
            return "not valid Unicode"
        case "string_pattern_mismatch":
            return "not a language tag such as ko or zh-TW"
        case "model_type" | "dict_type":
            return "not a JSON object"
        case "string_type":
            return "not a string"
        case _:
            return _lower_first(str(problem["msg"]))


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
