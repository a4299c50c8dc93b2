"""A base model's tokenizer as serving needs it: the compiled part alone, where its folder allows.

transformers reads the whole vocabulary into Python first, which takes four of the seconds of a start and, while it
lasts, three times the memory. Knows files of tokenizers; knows no prompt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from csrm.errors import BaseModelError
from csrm.prompt import CompiledTokenizer
from csrm.scoring.freed import give_back


def load_tokenizer(folder: str, base: str | Path, rows: int) -> Any:
    """The tokenizer of a prepared base: compiled, or as transformers loads it.

    Args:
        folder: as ``prepare_base`` gave it.
        base: what messages call it.
        rows: of the model's embedding.

    Raises:
        BaseModelError: it cannot be read, or has more tokens than the model has rows.
    """
    try:
        tokenizer = compiled(Path(folder)) or AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, ImportError) as error:
        raise BaseModelError(f"The base {base} cannot be loaded: {error}") from error
    if tokenizer.vocab_size > rows:
        raise BaseModelError(
            f"The tokenizer of {base} has {tokenizer.vocab_size} tokens and the model {rows}: it is another model's."
        )
    give_back()  # reading a large vocabulary takes far more memory than it comes to
    return tokenizer


def compiled(folder: Path) -> CompiledTokenizer | None:
    """The compiled tokenizer of a folder; null where transformers would put more into it than its file says.

    transformers 5 writes all that it knows into ``tokenizer.json`` and names its ``backend`` beside it; older
    versions kept some of it elsewhere, or in code.

    Raises:
        ValueError: a file is broken.
    """
    file, about = folder / "tokenizer.json", folder / "tokenizer_config.json"
    if not (file.is_file() and about.is_file()):
        return None
    settings = json.loads(about.read_text(encoding="utf-8"))
    if not isinstance(settings, dict) or settings.get("backend") != "tokenizers":
        return None
    bos = settings.get("bos_token")
    if not (bos is None or isinstance(bos, str)):
        return None
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # it has no other one
        raise ValueError(f"{file}: {error}") from error
    bos_id = None if bos is None else tokenizer.token_to_id(bos)
    return None if bos is not None and bos_id is None else CompiledTokenizer(tokenizer, bos_id)
