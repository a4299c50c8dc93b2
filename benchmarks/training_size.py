"""Memory and time of a LoRA training on larger bases, by calculation: nothing is trained.

    python -m benchmarks.training_size [--tokens 8192] [--rank 16] [--seen 50e6] [--peak 989e12] [--share 0.2]

memory = weights + adapter + activations + logits, where
- weights: 2 bytes a parameter in bf16; with a 4-bit base, 0.52 bytes (NF4 with scales quantised twice, arXiv
  2305.14314) for what is in linear layers and 2 for the embeddings;
- adapter: rank x (in + out) of each linear layer, 16 bytes a parameter (fp32 weight, gradient, two moments of Adam);
- activations: layers x tokens x bytes; the bytes are counted, on one decoder layer of the base's width with the
  adapter as it is trained, from what autograd keeps. With checkpointing a layer keeps its input (2 bytes x width), and
  one layer at a time all of it;
- logits: of a translation batch, half of whose tokens are answers, over 16,000 words: 4 bytes x 3.
operations = 4 x parameters in linear layers x tokens (forward 2, backward 2: frozen weights have no gradient), 6 with
checkpointing. time = operations x tokens seen / (share of the peak x peak); 989e12 is an H100's in bf16, dense.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3Model

GB = 1e9
WORDS = 16_000


@dataclass(frozen=True, slots=True)
class Shape:
    """A base, as its config.json says."""

    name: str
    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int = 8
    head_dim: int = 128
    vocabulary: int = 151_936
    tied: bool = True

    def linear(self) -> list[tuple[int, int]]:
        """(in, out) of the linear layers of one decoder layer."""
        own, shared = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return [
            *((self.width, own), (self.width, shared), (self.width, shared), (own, self.width)),
            *((self.width, self.inner), (self.width, self.inner), (self.inner, self.width)),
        ]

    @property
    def parameters(self) -> int:
        """In linear layers."""
        return self.layers * sum(i * o for i, o in self.linear())

    @property
    def embeddings(self) -> int:
        return self.vocabulary * self.width * (1 if self.tied else 2)

    def adapter(self, rank: int) -> int:
        return self.layers * rank * sum(i + o for i, o in self.linear())


SHAPES = (
    Shape("Qwen3-0.6B", 28, 1024, 3072, 16),
    Shape("Qwen3-1.7B", 28, 2048, 6144, 16),
    Shape("Qwen3-4B", 36, 2560, 9728, 32),
    Shape("Qwen3-8B", 36, 4096, 12288, 32, tied=False),
)


def kept_bytes(shape: Shape, rank: int) -> float:
    """Bytes a token that autograd keeps of one decoder layer with its adapter.

    What a second layer adds, and of that what more rows add: embeddings, norms and copies of weights fall out.
    """
    added = []
    for rows in (2, 4):
        one, two = (_kept(shape, rank, layers, rows) for layers in (1, 2))
        added.append(two - one)
    return (added[1] - added[0]) / (2 * 64)


def _kept(shape: Shape, rank: int, layers: int, rows: int) -> int:
    config = Qwen3Config(
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocab_size=256,
    )
    lora = LoraConfig(r=rank, target_modules="all-linear")
    model = get_peft_model(Qwen3Model(config).to(torch.bfloat16), lora)
    model.train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage  # held, so that no address is used twice
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16),
    ):
        model(input_ids=torch.randint(0, 256, (rows, 64)), use_cache=False)
    return sum(storage.nbytes() for storage in kept.values())


def table(tokens: int, rank: int, seen: float, speed: float) -> str:
    """Markdown, one line a base."""
    lines = [
        "| base | weights, bf16 · 4 bits | adapter | kept a token and layer | activations · checkpointed "
        "| in all: bf16 · and checkpointed · and 4 bits | time · checkpointed |",
        "|---|---|---|---|---|---|---|",
    ]
    for shape in SHAPES:
        full = 2 * (shape.parameters + shape.embeddings)
        small = 0.52 * shape.parameters + 2 * shape.embeddings
        adapter = 16 * shape.adapter(rank)
        kept = kept_bytes(shape, rank)
        activations = shape.layers * tokens * kept
        checkpointed = tokens * (shape.layers * 2 * shape.width + kept)
        logits = tokens / 2 * WORDS * 4 * 3
        totals = [
            weights + adapter + of_tokens + logits
            for weights, of_tokens in ((full, activations), (full, checkpointed), (small, checkpointed))
        ]
        minutes = [times * shape.parameters * seen / speed / 60 for times in (4, 6)]
        lines.append(
            f"| {shape.name} | {full / GB:.1f} · {small / GB:.1f} GB | {adapter / GB:.2f} GB | {kept / 1000:.0f} kB "
            f"| {activations / GB:.1f} · {checkpointed / GB:.1f} GB | {' · '.join(f'{t / GB:.0f}' for t in totals)} GB "
            f"| {minutes[0]:.0f} · {minutes[1]:.0f} min |"
        )
    return "\n".join(lines)


def main() -> None:
    """The command line; see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=8192, help="of one optimiser step")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--seen", type=float, default=50e6, help="tokens of the whole training")
    parser.add_argument("--peak", type=float, default=989e12, help="operations a second of the GPU")
    parser.add_argument("--share", type=float, default=0.2, help="of the peak that is reached")
    asked = parser.parse_args()
    sys.stdout.write(table(asked.tokens, asked.rank, asked.seen, asked.peak * asked.share) + "\n")


if __name__ == "__main__":
    main()
