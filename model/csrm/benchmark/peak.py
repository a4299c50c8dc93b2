"""What this machine can multiply at most, measured: the yardstick of every row.

Knows torch; knows no model.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from csrm.scoring.integers import Projection

SIDES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
"""Sides of the square matrices that are tried; the best counts."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def peak_gflops(device: str, precision: str, seconds: float = 1.0) -> float:
    """Billions of operations a second in one large matrix product: with floating point, or with 8-bit integers.

    fp32 is measured as torch multiplies it by itself and with leave to take another way, which on some CPUs is twice
    as fast and as exact. Where it is not as exact (AMX, TF32) it is not fp32 and does not count. It is what the machine
    can do: no scorer asks for that leave, which holds for a whole process.

    Args:
        device: ``cpu`` or ``cuda``.
        precision: ``fp32``, ``bf16``, or ``int8`` where ``csrm.scoring.integers`` lacks nothing.
        seconds: time spent on each size.
    """
    before = torch.get_float32_matmul_precision()
    ways = ["highest", "medium"] if precision == "fp32" and device == "cpu" else [before]
    try:
        best = 0.0
        for way in ways:
            torch.set_float32_matmul_precision(way)
            if way == "medium" and not _exact():
                continue
            best = max(
                best,
                *(
                    _gflops(_product(device, precision, side), device, side, seconds)
                    for side in SIDES[device]
                ),
            )
        return best
    finally:
        torch.set_float32_matmul_precision(before)


def _exact() -> bool:
    """Whether a matrix product is as exact as fp32 is, with the way that torch takes now."""
    a, b = torch.randn(256, 512), torch.randn(512, 256)
    return bool(torch.allclose((a @ b).double(), a.double() @ b.double(), rtol=1e-3, atol=1e-3))


def _product(device: str, precision: str, side: int) -> Callable[[], torch.Tensor]:
    """A product of two square matrices, ready to be made; that of integers as the engine makes it."""
    a = torch.randn(side, side, device=device)
    b = torch.randn(side, side, device=device)
    if precision == "int8":
        projection = Projection.of(b)
        whole = torch.randint(1, 256, a.shape, dtype=torch.uint8)
        return lambda: projection(whole)
    a, b = a.to(DTYPES[precision]), b.to(DTYPES[precision])
    return lambda: a @ b


@torch.inference_mode()
def _gflops(product: Callable[[], torch.Tensor], device: str, side: int, seconds: float) -> float:
    best = float("inf")
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        product()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best / 1e9
