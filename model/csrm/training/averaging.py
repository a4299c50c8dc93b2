"""One adapter from several: the weighted mean of what they change, at a rank that still fits a bundle.

Models tuned from one base on different data average well (model soups, arXiv 2203.05482). LoRA factors cannot be
averaged themselves, their products can; the mean is brought back to a low rank by its singular value decomposition.
It is asked as those that it is made of. Cross-encoders that stand beside all of them are averaged likewise. Knows
adapters on disk; knows no model and no data.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from csrm.bundle import ENCODER_FILE
from csrm.encoder.bert import Tensors
from csrm.encoder.cross_encoder import read_changes, weight_of
from csrm.encoder.e5 import installed
from csrm.errors import InputError
from csrm.training.asked import FILE, Asked, asked_of
from csrm.training.encoder_trainer import save_changes
from csrm.training.record import writing
from csrm.training.starting import CONFIG, WEIGHTS, lora_of

Factors = dict[str, tuple[Tensor, Tensor]]
"""(up scaled (out, r), down (r, in)) of each adapted matrix, by the name of its ``lora_A``."""


def average(adapters: Mapping[Path, float], out: Path, *, rank: int) -> float:
    """Write the weighted mean of some adapters, and what it is to be asked, if all of them say so of themselves.

    Args:
        adapters: folders as peft writes them, with their weights; the weights need not sum to one (those of
            cross-encoders, which have biases and norms, are brought to that). The first names the mean: name and
            version of the recipe, and what its cross-encoder counts.
        out: folder of the new adapter; must not exist, appears whole or not at all.
        rank: of the new adapter.

    Returns:
        The largest share of a matrix's squared change that the rank could not hold.

    Raises:
        InputError: an adapter is missing or broken, is no LoRA, adapts other matrices than the first, or was asked
            otherwise; or some have a cross-encoder beside them and others none, or one of another rank.
        BundleError: a cross-encoder is broken.
        BaseModelError, MissingExtraError: as ``csrm.encoder.e5.installed`` says, where there are cross-encoders.
        TrainingError: the new one cannot be written.
    """
    if out.exists():
        raise InputError(f"{out} exists already: choose a new folder.")
    if not adapters or not all(math.isfinite(weight) for weight in adapters.values()):
        raise InputError("Name at least one adapter, each with a number as its weight.")
    read = [(weight, *_read(folder)) for folder, weight in adapters.items()]
    first, config = read[0][1], read[0][2]
    for folder, (_, factors, _) in zip(adapters, read, strict=True):
        if factors.keys() != first.keys():
            raise InputError(f"{folder} adapts other matrices than {next(iter(adapters))}.")
    asked = _asked(adapters)
    encoder, lost = _encoder(adapters)
    state = {}
    for name in first:
        new_up, new_down, share = _mean([(weight, *factors[name]) for weight, factors, _ in read], rank)
        lost = max(lost, share)
        state[name] = new_down.to(torch.bfloat16).contiguous()
        state[name.replace("lora_A", "lora_B")] = new_up.to(torch.bfloat16).contiguous()
    told = json.dumps(config | {"r": rank, "lora_alpha": rank}, indent=2) + "\n"
    with writing(out, resumes=False):
        out.parent.mkdir(parents=True, exist_ok=True)
        work = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.new")
        try:
            work.mkdir()
            save_file(state, work / WEIGHTS, metadata={"format": "pt"})
            (work / CONFIG).write_text(told, "utf-8")
            if asked is not None:
                asked.write(work)
            if encoder is not None:
                changes, weight = encoder
                save_changes(changes, work / ENCODER_FILE, weight)
            work.rename(out)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return lost


def _asked(adapters: Iterable[Path]) -> Asked | None:
    """What all of them are asked; null where one does not say."""
    first: tuple[Path, Asked] | None = None
    said = [(folder, asked_of(folder)) for folder in adapters]
    for folder, asked in said:
        if asked is None:
            continue
        first = first or (folder, asked)
        for setting in ("base", "prompt", "limits"):
            if getattr(asked, setting) != getattr(first[1], setting):
                raise InputError(
                    f"{folder} was trained with another {setting} than {first[0]} ({FILE} beside each says which): "
                    "average adapters that are asked alike."
                )
    return None if first is None or any(asked is None for _, asked in said) else first[1]


def _encoder(adapters: Mapping[Path, float]) -> tuple[tuple[Tensors, float] | None, float]:
    """The mean of the cross-encoders beside them at the rank they have, with what it counts, and the largest share of a
    matrix's squared change that this rank could not hold; null where none has one."""
    have = [folder for folder in adapters if (folder / ENCODER_FILE).is_file()]
    if not have:
        return None, 0.0
    if len(have) < len(adapters):
        without = next(folder for folder in adapters if folder not in have)
        raise InputError(f"{have[0]} has a cross-encoder ({ENCODER_FILE}) beside it and {without} has none.")
    if (total := sum(adapters.values())) <= 0:
        raise InputError("Cross-encoders cannot be averaged with weights that sum to nothing or less.")
    file = installed()
    read = [
        (weight / total, read_changes(folder / ENCODER_FILE, file)) for folder, weight in adapters.items()
    ]
    mean, lost = {}, 0.0
    for name, tensor in read[0][1].items():
        for folder, (_, changes) in zip(adapters, read, strict=True):
            if changes[name].shape != tensor.shape:
                raise InputError(f"{folder}'s cross-encoder has another rank than {have[0]}'s.")
        if name.endswith(".A"):
            other = name.removesuffix("A") + "B"
            factors = [(weight, changes[other], changes[name]) for weight, changes in read]
            mean[other], mean[name], share = _mean(factors, len(tensor))
            lost = max(lost, share)
        elif not name.endswith(".B"):
            mean[name] = torch.stack([weight * changes[name] for weight, changes in read]).sum(0)
    return (mean, weight_of(have[0] / ENCODER_FILE)), lost


def _read(folder: Path) -> tuple[Factors, dict[str, Any]]:
    lora = lora_of(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
        scale = lora.alpha / lora.rank
        factors = {
            name: (scale * tensors[name.replace("lora_A", "lora_B")].float(), down.float())
            for name, down in tensors.items()
            if "lora_A" in name
        }
    except (OSError, KeyError, SafetensorError) as error:
        raise InputError(f"{folder} is no adapter that can be read: {error}") from error
    if not factors:
        raise InputError(f"{folder} holds no LoRA weights.")
    return factors, config


def _mean(factors: list[tuple[float, Tensor, Tensor]], rank: int) -> tuple[Tensor, Tensor, float]:
    """Factors of the best approximation of the sum of ``weight * up @ down`` at a rank, and the share of its square
    that is lost."""
    up = torch.cat([weight * one for weight, one, _ in factors], dim=1)
    down = torch.cat([one for _, _, one in factors])
    left, left_small = torch.linalg.qr(up)
    right, right_small = torch.linalg.qr(down.T)
    u, s, v = torch.linalg.svd(left_small @ right_small.T, full_matrices=False)
    root = s[:rank].sqrt()
    lost = float((s[rank:] ** 2).sum() / (s**2).sum().clamp_min(1e-30))
    new_up, new_down = (left @ u[:, :rank]) * root, root[:, None] * (v[:rank] @ right.T)
    if len(root) < rank:  # the matrix, or the factors together, cannot have the rank asked for
        new_up = torch.nn.functional.pad(new_up, (0, rank - len(root)))
        new_down = torch.nn.functional.pad(new_down, (0, 0, 0, rank - len(root)))
    return new_up, new_down, lost
