"""The encoder as transformers has it, which the lean pass is compared with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from csrm.encoder.bert import LORA_SCALE
from csrm.encoder.e5 import E5File


def bert(file: E5File, base: Mapping[str, Tensor], changes: Mapping[str, Tensor] | None = None) -> BertModel:
    """transformers' model with the base's weights, changed if there are changes; its vocabulary is empty."""
    shape = file.shape
    config = BertConfig(
        vocab_size=2,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=shape.positions,
        type_vocab_size=1,
        layer_norm_eps=shape.epsilon,
        pad_token_id=1,
    )
    model = BertModel(config, add_pooling_layer=False)
    state = {
        "embeddings.position_embeddings.weight": base["positions"],  # with those of the one type
        "embeddings.token_type_embeddings.weight": torch.zeros(1, shape.hidden),
        "embeddings.LayerNorm.weight": base["norm.weight"],
        "embeddings.LayerNorm.bias": base["norm.bias"],
    }
    for name, tensor in base.items():
        if not name.startswith("layer."):
            continue
        stem = name.rpartition(".")[0]
        if changes and f"{stem}.A" in changes and name.endswith(".weight"):
            tensor = tensor + LORA_SCALE * changes[f"{stem}.B"] @ changes[f"{stem}.A"]
        elif changes:
            tensor = changes[name]
        state[f"encoder.{name}"] = tensor
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) == {"embeddings.word_embeddings.weight"}
    return model.eval()
