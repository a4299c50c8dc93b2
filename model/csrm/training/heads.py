"""What is trained beside the adapter: the early exit's head, and how each annotator leans.

Knows hidden states and logits; knows no loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from csrm.bundle import EXIT_FILE
from csrm.scoring.gemma3 import rms_norm
from csrm.training.record import write_tensors


class ExitHead(nn.Module):
    """Grades from the residual stream after an early layer: a norm of its own, then one row a grade.

    Args:
        norm: multiplier of the model's last norm, (hidden,): where it starts from.
        rows: the answers' rows of the output embedding, (4, hidden): likewise.
    """

    def __init__(self, norm: Tensor, rows: Tensor) -> None:
        super().__init__()
        self.norm = nn.Parameter(norm.detach().clone().float())
        self.rows = nn.Parameter(rows.detach().clone().float())

    def forward(self, residual: Tensor, epsilon: float) -> Tensor:
        """Logits (n, 4) of residual streams (n, hidden)."""
        return rms_norm(residual.float(), self.norm, epsilon) @ self.rows.T

    def save(self, adapter: Path, layer: int) -> None:
        """Write the head beside its adapter as the scoring engine reads it: in fp32, with the layers before it.

        The head that stood there stays until the new one is whole.
        """
        write_tensors(
            {
                "norm": self.norm.detach().cpu().contiguous(),
                "rows": self.rows.detach().cpu().contiguous(),
            },
            adapter / EXIT_FILE,
            {"layer": str(layer)},
        )


class Annotators(nn.Module):
    """An offset of the four logits for each kind of annotator, so that one who is strict teaches no strictness.

    Humans have none: they are who the model grades like.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = sorted(set(names) - {"human"})
        self.offsets = nn.Parameter(torch.zeros(len(self.names), 4))

    def forward(self, names: Sequence[str]) -> Tensor:
        """Offsets (n, 4) of the annotators of some rows; an unknown one leans like a human."""
        if not self.names:
            return torch.zeros(len(names), 4, device=self.offsets.device)
        places = torch.tensor(
            [self.names.index(name) if name in self.names else -1 for name in names],
            device=self.offsets.device,
        )
        return self.offsets[places.clamp_min(0)] * (places >= 0)[:, None]
