"""What an adapter was trained to be asked: its base, its prompt and its limits, in a file beside it; and the
cross-encoder that judges with it.

A bundle that is made of the adapter asks in the same words. Knows adapters on disk and prompts; knows no model.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from csrm.bundle import ENCODER_FILE, Bundle, EncoderPart, Manifest
from csrm.errors import InputError
from csrm.prompt import PromptLimits, PromptTemplate
from csrm.training.recipe import Recipe

FILE = "asked.json"


class Asked(BaseModel):
    """What grading with an adapter needs to know of its recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Of the recipe, as is ``version``."""
    version: int
    base: str
    prompt: PromptTemplate
    limits: PromptLimits

    def write(self, adapter: Path) -> None:
        """Write it beside an adapter."""
        (adapter / FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def write_asked(recipe: Recipe, adapter: Path) -> None:
    """Write beside an adapter what its recipe asked; a base that is a folder is named from the root."""
    asked = Asked(
        name=recipe.name,
        version=recipe.version,
        base=recipe.from_the_root().base,
        prompt=recipe.prompt,
        limits=recipe.limits,
    )
    asked.write(adapter)


def asked_of(adapter: Path) -> Asked | None:
    """What an adapter was trained to be asked; null where nothing beside it says so.

    Raises:
        InputError: what stands beside it is broken; the message names the field.
    """
    file = adapter / FILE
    if not file.is_file():
        return None
    try:
        return Asked.model_validate_json(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8: {error.reason} at byte {error.start}.") from error
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"])) or "asked"
        raise InputError(f"{file}, {field}: {fault['msg']}.") from error


def encoder_for(adapter: Path, bundle: Bundle) -> tuple[Path, EncoderPart] | None:
    """The cross-encoder that judges with an adapter, its file and its weight: the one beside the adapter, or else that
    of the bundle; null where neither has one.

    Raises:
        BundleError: the file beside the adapter is broken.
    """
    from csrm.encoder.cross_encoder import weight_of

    own = adapter / ENCODER_FILE
    if own.is_file():
        return own, EncoderPart(weight=weight_of(own))
    part = bundle.manifest.encoder
    return None if part is None else (bundle.path / ENCODER_FILE, part)


def manifest_for(adapter: Path, manifest: Manifest) -> Manifest:
    """The manifest of a bundle with another adapter in it: name, version, base, prompt and limits are the adapter's.

    Of an adapter that does not say (an older one, or another tool's) they are the bundle's, if its base is.

    Raises:
        InputError: the adapter was trained on another base and does not say how it was asked.
    """
    asked = asked_of(adapter)
    if asked is not None:
        return Manifest.model_validate(manifest.model_dump() | asked.model_dump())
    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        base = config["base_model_name_or_path"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{adapter} holds no adapter: {error}") from error
    if base not in (None, manifest.base) and not Path(base).is_dir():
        raise InputError(
            f"{adapter} was trained on {base}, and no {FILE} beside it says with which prompt; the bundle's base is "
            f"{manifest.base}: name a --bundle of that base."
        )
    return manifest
