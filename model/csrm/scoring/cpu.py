"""Whether this machine can run the compiled kernels. Knows torch and numba by name; knows no kernel."""

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
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return "this CPU has no AVX-512, without which the compiled kernels are no faster"
    try:
        import numba  # noqa: F401
    except ImportError as error:  # also said by a numba that does not know this numpy
        return f"the compiled kernels need numba: {error}"
    return None
