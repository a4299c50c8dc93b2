"""A bundle: one folder with everything a relevance model is, beside its base weights.

    bundle.json          this module's manifest: base, prompt, limits, gains, calibration, thresholds, reference rows
    adapter/             LoRA adapter as peft writes it (optional)
    exit.safetensors     head of an early exit: norm (hidden,) and rows (4, hidden) for E, S, C, I (optional)
    encoder.safetensors  what training made of the cross-encoder beside the language model (optional)
    knowledge/           knowledge snapshot (optional)
    MODEL_CARD.md        data, licences, figures, limits; csrm calibrate writes one of its fit

Knows files; loads no weights. Any causal-LM reranker with yes/no answers is a bundle of one file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from csrm.calibration import Calibration
from csrm.cascade import ExitRule
from csrm.errors import BundleError
from csrm.prompt import GRADES, PromptLimits, PromptTemplate

DEFAULT_BUNDLE = "default"
MANIFEST_FILE = "bundle.json"
EXIT_FILE = "exit.safetensors"
ENCODER_FILE = "encoder.safetensors"
CARD_FILE = "MODEL_CARD.md"
_SHIPPED_DEFAULT = "csrm-gemma3-270m"


T = TypeVar("T")

Probability = Annotated[float, Field(ge=0, le=1)]
Probabilities = tuple[Probability, Probability, Probability, Probability]
"""Of the grades E, S, C, I."""


class EncoderPart(BaseModel):
    """A cross-encoder beside the language model: what it says counts in the last word."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(
        default=0.0, ge=0, lt=1, description="Share of its log odds in those of what is said in the end."
    )


class EarlyExit(BaseModel):
    """What is said before all layers have run, by the model's first ones or by a cross-encoder, and when that is
    enough."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layer: int = Field(
        ge=0, description="How many layers run before the exit; before the first, the cross-encoder judges."
    )
    calibration: Calibration = Field(default=Calibration(), description="Of the exit's own irrelevance.")
    calibrations: dict[str, Calibration] = Field(
        default={}, description="The same by locale, where it was fitted."
    )
    threshold: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Irrelevance by the exit alone above which a product is removed, at level fast.",
    )
    rule: ExitRule = ExitRule()


class ReferenceRow(BaseModel):
    """A product, and what the model said of it when the bundle was written, in fp32."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str
    locale: str | None = None
    knowledge: tuple[str, ...] = ()
    product: str
    grades: Probabilities
    early: Probabilities | None = Field(default=None, description="By the early exit; null without one.")


class Manifest(BaseModel):
    """What ``bundle.json`` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: int = Field(ge=1)
    base: str
    prompt: PromptTemplate = PromptTemplate()
    limits: PromptLimits = PromptLimits()
    gains: dict[Literal["E", "S", "C", "I"], float] = Field(
        default={"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0},
        description="Gain of each grade in the score: the Shopping Queries data set's own (arXiv 2206.06588).",
    )
    calibration: Calibration = Calibration()
    calibrations: dict[str, Calibration] = Field(
        default={}, description="The same by locale, where it was fitted; such a locale has a threshold too."
    )
    threshold: float = Field(
        default=1.0, ge=0, le=1, description="Irrelevance above which a product is removed."
    )
    thresholds: dict[str, float] = Field(default={}, description="The same by locale, where it was fitted.")
    calibrated_in: Literal["fp32", "bf16", "int8"] | None = Field(
        default=None,
        description="Number format of the weights whose grades calibrations and thresholds were fitted on; auto takes "
        "int8 only for a bundle that was calibrated in it.",
    )
    exit: EarlyExit | None = Field(
        default=None, description="The early exit; null where the bundle has none."
    )
    encoder: EncoderPart | None = Field(
        default=None, description="The cross-encoder; null where the bundle has none."
    )
    reference: list[ReferenceRow] = Field(
        default=[],
        description="What the model must say wherever it is loaded; bundles without it are not checked.",
    )

    @field_validator("gains")
    @classmethod
    def _of_every_grade(cls, gains: dict[str, float]) -> dict[str, float]:
        if missing := [grade for grade in GRADES if grade not in gains]:
            raise ValueError(
                f"{', '.join(missing)} missing: give the gain of every grade, or leave gains out"
            )
        return gains

    @model_validator(mode="after")
    def _somebody_judges_early(self) -> Self:
        if self.exit is not None and self.exit.layer == 0 and self.encoder is None:
            raise ValueError("exit.layer is 0, where a cross-encoder judges, and the bundle has none")
        return self

    @model_validator(mode="after")
    def _thresholds_beside_calibrations(self) -> Self:
        early = self.exit.calibrations if self.exit is not None else {}
        if alone := sorted((self.calibrations.keys() | early.keys()) - self.thresholds.keys()):
            raise ValueError(
                f"{', '.join(alone)}: a locale with a calibration of its own needs a threshold of its own, for the "
                "pooled one was chosen under the pooled calibration"
            )
        return self


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return f"{self.manifest.name}@{self.manifest.version}"

    @property
    def adapter_path(self) -> Path | None:
        return self._part("adapter")

    @property
    def exit_path(self) -> Path | None:
        """File of the early exit's head; null where nothing or the cross-encoder judges early."""
        early = self.manifest.exit
        return self.path / EXIT_FILE if early is not None and early.layer else None

    @property
    def encoder_path(self) -> Path | None:
        """File of the cross-encoder; null where there is none, or where it would neither judge early nor count."""
        manifest = self.manifest
        heard = manifest.encoder is not None and (manifest.encoder.weight or self.judges_first)
        return self.path / ENCODER_FILE if heard else None

    @property
    def judges_first(self) -> bool:
        """Whether the cross-encoder judges early."""
        return self.manifest.exit is not None and self.manifest.exit.layer == 0

    def files(self) -> list[Path]:
        """Those that decide grades: manifest, adapter, early exit, cross-encoder."""
        parts = [path for name in ("adapter/*", EXIT_FILE, ENCODER_FILE) for path in self.path.glob(name)]
        return [self.path / MANIFEST_FILE, *sorted(part for part in parts if part.is_file())]

    def digest(self) -> str:
        """SHA-256 of the files that decide grades, in hexadecimal digits."""
        found = hashlib.sha256()
        for file in self.files():
            content = file.read_bytes()
            found.update(f"{file.name} {len(content)} ".encode() + content)
        return found.hexdigest()

    @property
    def knowledge_path(self) -> Path | None:
        return self._part("knowledge")

    def threshold(self, locale: str | None) -> float:
        """Irrelevance above which a product of this locale is removed: its own, its language's, or the pooled one."""
        return self._fitted(locale, self.manifest.thresholds, self.manifest.threshold)

    def calibration(self, locale: str | None) -> Calibration:
        """What calibrates irrelevance by all layers, for the locale whose threshold is that of this one."""
        return self._fitted(locale, self.manifest.calibrations, self.manifest.calibration)

    def exit_calibration(self, locale: str | None) -> Calibration:
        """The same by the early exit, where there is one."""
        early = self.manifest.exit or EarlyExit(layer=1)
        return self._fitted(locale, early.calibrations, early.calibration)

    def _fitted(self, locale: str | None, by_locale: Mapping[str, T], pooled: T) -> T:
        """What was fitted on the locale, its language or all rows: threshold and calibration on the same ones."""
        names = () if locale is None else (locale, locale.split("-")[0])
        place = next((name for name in names if name in self.manifest.thresholds), None)
        return pooled if place is None else by_locale.get(place, pooled)

    def _part(self, name: str) -> Path | None:
        part = self.path / name
        return part if part.is_dir() else None


def shipped_bundles() -> Path:
    """The folder of the bundles that come with the distribution."""
    return shipped_folder("bundles")


def shipped_folder(name: str) -> Path:
    """A folder that comes with the distribution: in the installed package, or beside it in the repository."""
    installed = Path(str(files("csrm"))) / name
    return installed if installed.is_dir() else Path(__file__).resolve().parents[1] / name


def load_bundle(bundle: str | Path = DEFAULT_BUNDLE) -> Bundle:
    """Find and read a bundle.

    Args:
        bundle: ``default``, the name of a shipped bundle, or a folder.

    Raises:
        BundleError: there is none of that name, or its manifest is wrong; the message names the field.
    """
    name = _SHIPPED_DEFAULT if str(bundle) == DEFAULT_BUNDLE else str(bundle)
    folder = Path(name)
    if not folder.is_dir():
        folder = shipped_bundles() / name
    manifest = folder / MANIFEST_FILE
    if not manifest.is_file():
        shipped = sorted(path.parent.name for path in shipped_bundles().glob(f"*/{MANIFEST_FILE}"))
        raise BundleError(
            f"There is no bundle {bundle}: give a folder with a bundle.json, "
            f"or one of {', '.join(shipped) or 'none shipped'}."
        )
    try:
        return Bundle(folder, Manifest.model_validate(json.loads(manifest.read_text(encoding="utf-8"))))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{manifest} is not JSON: {error}.") from error
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"]) or "manifest"
        raise BundleError(f"{manifest}, {field}: {fault['msg']}.") from error
