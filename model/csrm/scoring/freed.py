"""Memory that was freed goes back to the machine. Knows Python's and glibc's allocators; knows nothing of models."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Collect garbage, and have the allocator give back what it holds and does not use.

    glibc keeps freed memory that lies below memory in use, such as all that reading a tokenizer took in between.
    Other C libraries have no such call; there only garbage is collected.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
