"""Whether the folder of a run is of the same training, so that what stands in it may be continued.

Knows recipes, encoded rows and files; knows no model and no loop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from csrm.errors import InputError
from csrm.training.recipe import Recipe
from csrm.training.starting import WEIGHTS

if TYPE_CHECKING:
    from csrm.training.distillation import Lesson

RECIPE = "recipe.json"
ROWS = "rows.sha256"


def refuse_other_recipe(run: Path, recipe: Recipe) -> None:
    """Make sure that a run which was begun is continued by the recipe that it was begun with.

    Args:
        run: folder of the run.
        recipe: its folders named from the root, as those that it is compared with.

    Raises:
        InputError: it was begun with another; the message names the settings.
    """
    if not (run / RECIPE).is_file():
        return
    try:
        begun = Recipe.model_validate_json((run / RECIPE).read_text(encoding="utf-8")).from_the_root()
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"{run / RECIPE} is no recipe: name another --run.") from error
    settings = sorted(Recipe.model_fields)
    if other := [name for name in settings if getattr(begun, name) != getattr(recipe, name)]:
        raise InputError(
            f"The run in {run} was begun with another {', '.join(other)}: name another --run, or take it away."
        )


def mark_of(lessons: Sequence[Lesson], start: Path | None) -> str:
    """A fingerprint of all that is learnt from: encoded rows with their knowledge, parallel text, the start."""
    seen = hashlib.sha256((start / WEIGHTS).read_bytes() if start is not None else b"")
    for lesson in lessons:
        for example in lesson.examples:
            seen.update(repr((example.ids, example.target, example.annotator)).encode())
        for text in lesson.translations:
            seen.update(repr((text.ids, text.answer)).encode())
    return seen.hexdigest()


def refuse_other_rows(run: Path, mark: str) -> None:
    """Make sure that a run which was begun is continued with the same rows, parallel text and start.

    Raises:
        InputError: they have changed.
    """
    if (run / ROWS).is_file() and (run / ROWS).read_text(encoding="utf-8").strip() != mark:
        raise InputError(
            f"The rows, their knowledge or the adapter to start from have changed since the run in {run} was begun: "
            "name another --run, or take it away."
        )


def note(run: Path, recipe: Recipe, mark: str) -> None:
    """Write down what the run is of."""
    run.mkdir(parents=True, exist_ok=True)
    (run / RECIPE).write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (run / ROWS).write_text(mark + "\n", encoding="utf-8")
