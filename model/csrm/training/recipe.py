"""A training recipe: everything that decides what comes out of a training run, in one commented YAML.

Knows settings; knows no model and no loop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar, overload

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from csrm.errors import InputError
from csrm.prompt import PromptLimits, PromptTemplate
from csrm.scoring.base import DEFAULT_BASE
from csrm.training.shipped import shipped_recipes

PLAIN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Of a recipe or a stage: both name files."""

TAKEN = frozenset({"adapter", "distillation", "last-good", "ray", "tensorboard"})
"""What stands in the folder of a run beside the folders of its stages."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LoraSettings(_Settings):
    """Low-rank adaptation (arXiv 2106.09685) of every linear layer of the base."""

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)


class DataSource(_Settings):
    """Rows of one file; a path that is not absolute is looked up in the run's data folders."""

    path: Path
    repeat: int = Field(default=1, ge=1, description="How often each row is seen in an epoch.")
    share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Of its rows, drawn by whole queries in an order that the recipe's seed gives: queries that come "
        "from one another have one place in it, in all sources.",
    )
    grades: Path | None = Field(
        default=None,
        description="Soft labels: an NPZ file whose array ``grades`` has P(E), P(S), P(C), P(I) of each row.",
    )
    weight: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Weight of the soft labels beside the given ones, half where unsaid.",
    )

    @model_validator(mode="after")
    def _weight_of_something(self) -> Self:
        if self.grades is None and self.weight is not None:
            raise ValueError("weight is that of soft labels: name grades, or leave weight out")
        return self


class KnowledgeSettings(_Settings):
    """What training puts before the products, as serving will."""

    entries: list[Path] = Field(
        default=[], description="Knowledge entries (JSONL), as shipped in the bundle."
    )
    from_rows: bool = Field(
        default=True,
        description="Also offer the E products of other queries in the data, as a search log would.",
    )
    dropout: float = Field(default=0.4, ge=0, le=1, description="Share of rows that see no knowledge.")
    wrong: float = Field(
        default=0.1, ge=0, le=1, description="Share of rows that see another query's knowledge."
    )
    limit: int = Field(default=3, ge=1, description="Most entries a row.")

    @model_validator(mode="after")
    def _shares_of_one(self) -> Self:
        if self.dropout + self.wrong > 1:
            raise ValueError(f"dropout {self.dropout} and wrong {self.wrong} are more than all rows")
        return self


class TranslationSettings(_Settings):
    """Machine translation in the mix: what carries grades from one market's language to another's."""

    sources: list[Path] = Field(
        min_length=1,
        description="Parallel text: JSONL as in model/data, rewritten pairs, or a taxonomy table.",
    )
    locales: list[str] = Field(
        default=["es", "ja", "ko", "zh-TW"], description="Target markets, each both from and into the source."
    )
    source: str = Field(default="en", description="The source market.")
    share: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="Share of the stage's batches that translate; 1 translates alone.",
    )


class ExitSettings(_Settings):
    """A small head after an early layer, trained along: the first layers alone are then the cascade's student."""

    layer: int = Field(default=6, ge=1, description="How many layers run before it.")
    weight: float = Field(default=0.3, gt=0, lt=1, description="Its share of the loss.")


class HardwareSettings(_Settings):
    """What a large base on a GPU needs. None of it changes what is learnt, but for rounding and the 4-bit base."""

    checkpointing: bool = Field(
        default=False,
        description="Compute activations again in the backward pass instead of keeping them: a fraction of the memory "
        "for a third more time.",
    )
    packed: bool = Field(
        default=False,
        description="Lay the rows of a step end to end without padding, through the library's forward pass.",
    )
    four_bit: bool = Field(
        default=False, description="Hold the frozen base in 4 bits (QLoRA, arXiv 2305.14314)."
    )
    attention: Literal["sdpa", "flex_attention", "flash_attention_2"] = Field(
        default="sdpa",
        description="Of the library's forward pass. sdpa looks at every pair of tokens of a packed step and masks "
        "those of different rows, the other two leave them out.",
    )


class DistillationSettings(_Settings):
    """Rounds of self-distillation: each row is graded by teachers that never saw its query."""

    folds: int = Field(default=4, ge=2)
    rounds: int = Field(default=2, ge=1)
    epochs: int | None = Field(
        default=None,
        ge=1,
        description="Of a teacher in each stage; the student's where null. Fewer learn fewer wrong labels by heart.",
    )
    noise: float = Field(
        default=0.2,
        gt=0,
        le=0.75,
        description="Share of the given labels that are taken to be wrong: the more, the sooner teachers overrule. "
        "At .75 labels say nothing, and the teachers all.",
    )


class Stage(_Settings):
    """One pass over its own mix of sources, continuing from the stage before."""

    name: str = Field(pattern=PLAIN_NAME, description="Of its checkpoint and of the folder of its adapter.")
    sources: list[DataSource] = []
    translation: TranslationSettings | None = None
    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    knowledge: KnowledgeSettings | None = None

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.sources and self.translation is not None and self.translation.share == 1:
            raise ValueError("translation.share is 1, so nothing of sources would be seen")
        if not self.sources and (self.translation is None or self.translation.share < 1):
            raise ValueError("sources is empty: name some, or a translation with share 1")
        return self


class Recipe(_Settings):
    """The whole recipe. ``name`` and ``version`` become the bundle's, where ``csrm calibrate`` is not told others."""

    name: str = Field(pattern=PLAIN_NAME)
    version: int = Field(default=1, ge=1)
    base: str = DEFAULT_BASE
    seed: int = 20260917
    lora: LoraSettings = LoraSettings()
    start: str | None = Field(
        default=None,
        description="Trained adapter to start from, of the same base, rank and alpha: its folder, or the name or "
        "folder of a bundle. Null starts from the bare base.",
    )
    hardware: HardwareSettings = HardwareSettings()
    exit: ExitSettings | None = None
    distillation: DistillationSettings | None = None
    annotators: bool = Field(
        default=False,
        description="Learn how each kind of annotator (label_by) leans, and grade as a human would.",
    )
    prompt: PromptTemplate = PromptTemplate()
    limits: PromptLimits = PromptLimits()
    stages: Annotated[list[Stage], Field(min_length=1)]
    dev: list[Path] = Field(min_length=1, description="Clean rows for calibration; never trained on.")
    batch_tokens: int = Field(default=2048, ge=256, description="Most tokens of one optimiser step.")
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    checkpoint_steps: int = Field(default=100, ge=1)

    def from_the_root(self) -> Recipe:
        """The same with the folders of base and start named from the root, so that it means the same everywhere."""
        named = {"base": self.base, "start": self.start}
        return self.model_copy(
            update={
                setting: str(Path(value).resolve()) if value is not None and Path(value).is_dir() else value
                for setting, value in named.items()
            }
        )

    @field_validator("stages")
    @classmethod
    def _names_of_their_own(cls, stages: list[Stage]) -> list[Stage]:
        seen: set[str] = set()
        for stage in stages:
            if stage.name in TAKEN:
                raise ValueError(f"a stage may not be called {stage.name}: the run has a folder of that name")
            if stage.name in seen:
                raise ValueError(
                    f"two stages are called {stage.name}: the second would go on from the first's checkpoint"
                )
            seen.add(stage.name)
        return stages


class EncoderRecipe(_Settings):
    """Everything that decides what comes out of the training of a cross-encoder."""

    seed: int = 0
    rank: int = Field(default=24, ge=1, description="Of the changes of each linear map.")
    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    warmup: float = Field(
        default=0.12, ge=0, lt=1, description="Share of the steps in which the rate rises, a teacher's too."
    )
    batch_rows: int = Field(default=64, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    checkpoint_steps: int = Field(default=100, ge=1)
    weight: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="Of the encoder in the log odds of what it and the language model say together.",
    )
    sources: list[DataSource] = Field(
        min_length=1, description="Rows; a share is drawn anew for every epoch."
    )
    knowledge: KnowledgeSettings | None = Field(
        default=None, description="What is told of the queries, as in serving; nothing where null."
    )
    distillation: DistillationSettings | None = None
    dev: list[Path] = Field(min_length=1, description="Clean rows: never trained on.")


Kind = TypeVar("Kind", bound=BaseModel)


@overload
def load_recipe(path: str | Path) -> Recipe: ...
@overload
def load_recipe(path: str | Path, kind: type[Kind]) -> Kind: ...
def load_recipe(path: str | Path, kind: type[BaseModel] = Recipe) -> BaseModel:
    """Read a recipe.

    Args:
        path: the file, or the name of a shipped recipe.
        kind: what it is a recipe of.

    Raises:
        InputError: the file is missing, is not YAML, or a setting is wrong; the message names the setting.
    """
    path = Path(path)
    named = shipped_recipes() / f"{path}.yaml"
    if not path.exists() and len(path.parts) == 1 and named.is_file():
        path = named
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            what = "is empty" if content is None else "holds no settings"
            raise InputError(f"The recipe {path} {what}: docs/training.md says what a recipe looks like.")
        return kind.model_validate(content)
    except UnicodeDecodeError as error:
        raise InputError(f"The recipe {path} is not UTF-8: {error.reason} at byte {error.start}.") from error
    except FileNotFoundError as error:
        names = ", ".join(sorted(shipped.stem for shipped in shipped_recipes().glob("*.yaml")))
        raise InputError(
            f"The recipe {path} does not exist, and is none of the shipped ones: {names}."
        ) from error
    except yaml.YAMLError as error:
        raise InputError(f"The recipe {path} is not YAML: {error}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"]) or "recipe"
        raise InputError(f"The recipe {path}, {field}: {fault['msg']}.") from error
