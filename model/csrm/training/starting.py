"""Where a training starts from: the bare base, or an adapter that was trained before.

Knows adapters and bundles on disk; knows no model and no loop.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from csrm.bundle import MANIFEST_FILE, load_bundle
from csrm.errors import BundleError, InputError
from csrm.training.asked import asked_of
from csrm.training.recipe import LoraSettings, Recipe

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def start_of(recipe: Recipe, data: Sequence[Path]) -> Path | None:
    """Folder of the adapter that a recipe starts from; null where it starts from the bare base.

    Args:
        recipe: ``start`` is the folder of an adapter, itself or in one of ``data``, or the name or folder of a bundle.
        data: folders that relative paths are looked up in.

    Raises:
        InputError: there is no such adapter, or it has another rank, base or prompt than the recipe.
    """
    if recipe.start is None:
        return None
    places = [Path(recipe.start), *(folder / recipe.start for folder in data)]
    for folder in places:
        if (folder / CONFIG).is_file():
            break
        if (folder / MANIFEST_FILE).is_file():
            folder = _of_bundle(folder, recipe)
            break
    else:
        folder = _of_bundle(recipe.start, recipe)
    lora = lora_of(folder)
    if lora != recipe.lora:
        raise InputError(
            f"start: {folder} has rank {lora.rank} and alpha {lora.alpha}, the recipe {recipe.lora.rank} and "
            f"{recipe.lora.alpha}: write lora: {{rank: {lora.rank}, alpha: {lora.alpha}}}."
        )
    if (asked := asked_of(folder)) is not None:
        for setting in ("prompt", "limits"):
            if getattr(asked, setting) != getattr(recipe, setting):
                raise InputError(f"start: {folder} was trained with another {setting} than the recipe's.")
    named = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    if named not in (None, recipe.base) and not Path(recipe.base).is_dir():
        raise InputError(
            f"start: {folder} was trained on {named}, the base of the recipe is {recipe.base}: write base: {named}."
        )
    return folder


def lora_of(adapter: Path) -> LoraSettings:
    """Rank and alpha of an adapter.

    Raises:
        InputError: the folder holds no plain LoRA adapter.
    """
    try:
        config = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
        if config["peft_type"] != "LORA" or config.get("rank_pattern") or config.get("use_rslora"):
            raise InputError(f"{adapter} is no plain LoRA adapter.")
        return LoraSettings(rank=config["r"], alpha=config["lora_alpha"])
    except (OSError, KeyError, TypeError, json.JSONDecodeError, ValidationError) as error:
        raise InputError(f"{adapter} holds no adapter: {error}") from error


def _of_bundle(bundle: str | Path, recipe: Recipe) -> Path:
    try:
        found = load_bundle(bundle)
    except BundleError as error:
        raise InputError(
            f"start: {bundle} is neither the folder of an adapter nor a bundle. {error}"
        ) from error
    if found.adapter_path is None:
        raise InputError(f"start: the bundle {found.name} has no adapter: leave start out.")
    for setting in ("prompt", "limits"):
        if getattr(found.manifest, setting) != getattr(recipe, setting):
            raise InputError(
                f"start: the bundle {found.name} has another {setting} than the recipe: copy its own."
            )
    return found.adapter_path
