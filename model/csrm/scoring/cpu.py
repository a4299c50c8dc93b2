"""What this machine's CPU can do. Knows torch and numba by name; knows no kernel."""

from __future__ import annotations

import os

import torch

SHAPES_REMEMBERED = "128"
"""Products of so many shapes does oneDNN keep compiled, in each of its two caches. Its own choice is 1,024: for windows
of many lengths a process grows by hundreds of megabytes for them. A batch takes about eight, the same in each layer.
"""

# Read once, at the first product.
for _variable in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_variable, SHAPES_REMEMBERED)


def lacking_kernels(device: torch.device) -> str | None:
    """Why ``csrm.scoring.kernels`` does not run, or does not pay, on a device; null where it does."""
    if device.type != "cpu":
        return "the compiled kernels run on a CPU, not on a GPU"
    if not torch.cpu._is_avx2_supported():
        return "this CPU has no AVX2, and without it the compiled kernels were never measured"
    try:
        import numba  # noqa: F401
    except ImportError as error:  # also said by a numba that does not know this numpy
        return f"the compiled kernels need numba: {error}"
    return None


def lacking_bf16(device: torch.device) -> str | None:
    """Why nobody would wait for products in bf16 on a device; null where they are worth measuring."""
    able = torch.cpu.get_capabilities()
    if device.type == "cpu" and able["architecture"] == "x86_64" and not able.get("avx512_f"):
        return "this CPU has no AVX-512, without which torch multiplies bf16 a hundred times slower than fp32"
    return None


def multiplies_bf16() -> bool:
    """Whether this CPU multiplies in bf16 itself; with AVX-512 alone it is imitated in fp32."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name) for name in ("avx512_bf16", "amx_bf16"))
