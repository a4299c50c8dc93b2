"""The early exit: a head that reads the grades off the model after its first layers.

Knows the head's file and arithmetic; knows no layers, and not who goes on to the later ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from csrm.errors import BundleError
from csrm.prompt import GRADES


@dataclass(frozen=True, slots=True)
class ExitHead:
    """Logits of E, S, C, I from the residual stream after the first ``layer`` layers.

    ``norm`` (hidden,) is the whole multiplier of the RMS norm, ``rows`` (4, hidden); both fp32.
    """

    layer: int
    norm: Tensor
    rows: Tensor

    def logits(self, residual: Tensor, epsilon: float) -> Tensor:
        """Logits (n, 4) of residuals (n, hidden), in fp32."""
        return F.rms_norm(residual, self.norm.shape, self.norm, epsilon) @ self.rows.T


def read_exit(file: Path, layer: int, *, hidden: int, layers: int, device: torch.device) -> ExitHead:
    """Read ``exit.safetensors``.

    Args:
        file: with the tensors ``norm`` and ``rows``.
        layer: how many layers run before it, from the manifest.
        hidden: width of the model.
        layers: of the model.
        device: where the tensors go.

    Raises:
        BundleError: the file is missing or broken, or is for another model; the message names what is wrong.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not 1 <= layer < layers:
        raise BundleError(
            f"exit.layer is {layer}, and the base has {layers} layers: name one before the last."
        )
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{file}, which the manifest's exit needs, cannot be read: {error}") from error
    for name, shape in (("norm", (hidden,)), ("rows", (len(GRADES), hidden))):
        if name not in tensors or tuple(tensors[name].shape) != shape:
            found = tuple(tensors[name].shape) if name in tensors else "missing"
            raise BundleError(f"{file}, {name}: {found}, not of the shape {shape} that this base needs.")
        if not torch.isfinite(tensors[name]).all():
            raise BundleError(f"{file}, {name}: holds what is no number; write the file anew.")
    return ExitHead(layer, tensors["norm"].float().to(device), tensors["rows"].float().to(device))


def layer_of(file: Path) -> int | None:
    """How many layers run before a head, as its training wrote it; null where the file does not say.

    Raises:
        BundleError: the file is broken.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            written: str | None = (opened.metadata() or {}).get("layer")
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{file} cannot be read: {error}") from error
    return int(written) if written and written.isdecimal() else None
