"""The key that the relevance service asks for, out of a file or the environment.

Knows where it is kept and what a header can carry; knows no HTTP. The settings hold its place, never the key itself,
so that what prints settings prints no secret.
"""

from __future__ import annotations

import os

from pydantic import SecretStr

from csrm_opensearch.errors import ProfileError
from csrm_opensearch.profiles import RelevanceSettings


def read_key(settings: RelevanceSettings) -> SecretStr | None:
    """The key, or null where the settings name no place of one.

    Raises:
        ProfileError: the place cannot be read, or holds no key; the message names the field, never the key.
    """
    if settings.key_file is not None:
        try:
            found = settings.key_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ProfileError(
                f"relevance.key_file: {settings.key_file} cannot be read ({why}): give a file with one key."
            ) from None  # what was read of it stays out of the traceback
        return _sound(found, f"relevance.key_file: {settings.key_file}")
    if settings.key_env is not None:
        if (value := os.environ.get(settings.key_env)) is None:  # not quoted: it may be the key, put there
            raise ProfileError(
                "relevance.key_env: the environment has no variable of that name: set it, or name another one."
            )
        return _sound(value, "relevance.key_env: the variable")
    return None


def _sound(text: str, place: str) -> SecretStr:
    key = text.strip()
    if not key:
        raise ProfileError(f"{place} is empty: put the key there.")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ProfileError(f"{place} is no key: one word of ASCII letters, digits and signs is needed.")
    return SecretStr(key)
