"""Each kernel against what torch makes of the same numbers, over odd shapes and numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from csrm.scoring import gemma3
from csrm.scoring.cpu import lacking_kernels
from csrm.scoring.rounding import ZERO

LACKING = lacking_kernels(torch.device("cpu"))
if LACKING:
    pytest.skip(LACKING, allow_module_level=True)

from csrm.scoring import fused, kernels  # noqa: E402

EPSILON = 1e-6
CARRIED = [torch.bfloat16, torch.float32]
TYPES = [(carried, dtype) for carried in CARRIED for dtype in (carried, torch.uint8)]
STEP = {torch.bfloat16: 2**-8, torch.float32: 1e-5}
"""Largest share of a number that is lost by rounding it, and by what comes before."""

SHAPES = [(1, 1), (1, 7), (3, 32), (5, 641)]


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    for types in TYPES:
        kernels.prepare(*(fused.array(torch.empty(0, dtype=one)).dtype.name for one in types))


def operand(shape: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor, kernels.Operand]:
    x = torch.empty(*shape, dtype=dtype)
    return x, torch.empty(shape[0]), fused.array(x)


def numbers(x: Tensor, scale: Tensor) -> Tensor:
    """What an operand stands for."""
    return (x.float() - ZERO if x.dtype is torch.uint8 else x.float()) * scale[:, None]


def close(x: Tensor, scale: Tensor, wanted: Tensor) -> None:
    """Rounded to the nearest: within half a step, which in bf16 is by the number and in bytes by its row."""
    found = numbers(x, scale)
    if x.dtype is torch.uint8:
        half = scale[:, None] * 0.51
        assert ((found - wanted).abs() <= half + 1e-5 * wanted.abs()).all()
        assert x.min() >= 1, "the integers are symmetric"
    else:
        assert torch.allclose(found, wanted, rtol=STEP[x.dtype], atol=1e-30)


def rows(shape: tuple[int, int]) -> Tensor:
    """Of very different sizes; the last of several is zeros."""
    x = torch.randn(shape) * torch.logspace(-4, 8, shape[0])[:, None]
    if len(x) > 1:
        x[-1] = 0
    return x


@pytest.mark.parametrize("dtype", [*CARRIED, torch.uint8])
@pytest.mark.parametrize("shape", SHAPES)
def test_norm(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    residual, weight = rows(shape), torch.randn(shape[1])
    x, scale, out = operand(shape, dtype)
    kernels.norm(residual.numpy(), weight.numpy(), EPSILON, out, scale.numpy())
    close(x, scale, gemma3.rms_norm(residual, weight, EPSILON))


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_add_and_norm(shape: tuple[int, int], types: tuple[torch.dtype, torch.dtype]) -> None:
    torch.manual_seed(1)
    carried, dtype = types
    residual, mixed, by = rows(shape), rows(shape).to(carried), torch.rand(shape[0]) + 1e-3
    weight, following = torch.randn(2, shape[1])
    wanted = residual + gemma3.rms_norm(mixed.float() * by[:, None], weight, EPSILON)
    alone = residual.clone()
    kernels.add(alone.numpy(), fused.array(mixed), by.numpy(), weight.numpy(), EPSILON)
    assert torch.allclose(alone, wanted, rtol=1e-5, atol=1e-5)
    x, scale, out = operand(shape, dtype)
    kernels.add_norm(
        residual.numpy(),
        fused.array(mixed),
        by.numpy(),
        weight.numpy(),
        following.numpy(),
        EPSILON,
        out,
        scale.numpy(),
    )
    assert torch.equal(residual, alone)
    close(x, scale, gemma3.rms_norm(alone, following, EPSILON))


@pytest.mark.parametrize("carried", CARRIED)
@pytest.mark.parametrize(("n", "t", "heads", "d"), [(1, 1, 1, 2), (2, 1, 4, 16), (3, 5, 2, 256)])
def test_turn(n: int, t: int, heads: int, d: int, carried: torch.dtype) -> None:
    torch.manual_seed(2)
    given = torch.randn(n * t, heads + 2, d).to(carried)
    given[0] = 0
    by, norm_q, norm_k = torch.rand(n * t) + 0.1, torch.randn(d), torch.randn(d)
    cos, sin = gemma3.rotation(torch.arange(7, 7 + t), 1e4, d)
    queries, keys, values = (
        torch.empty(n * t, heads, d, dtype=carried),
        *torch.empty(2, n * t, d, dtype=carried),
    )
    kernels.turn(
        fused.array(given),
        by.numpy(),
        norm_q.numpy(),
        norm_k.numpy(),
        cos.view(t, d).numpy(),
        sin.view(t, d).numpy(),
        EPSILON,
        fused.array(queries),
        fused.array(keys),
        fused.array(values),
    )
    q, k, v = torch.split((given.float() * by[:, None, None]).view(n, t, heads + 2, d), [heads, 1, 1], dim=2)
    for found, wanted in (
        (queries, gemma3.rotate(gemma3.rms_norm(q, norm_q, EPSILON), cos, sin)),
        (keys, gemma3.rotate(gemma3.rms_norm(k, norm_k, EPSILON), cos, sin)),
        (values, v),
    ):
        assert torch.allclose(found.float(), wanted.reshape(found.shape), rtol=STEP[carried], atol=1e-5)


@pytest.mark.parametrize("carried", CARRIED)
@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize("p", [0, 1, 30])
@pytest.mark.parametrize("t", [1, 6])
def test_soften(t: int, p: int, size: float, carried: torch.dtype) -> None:
    torch.manual_seed(3)
    shared, own = ((torch.randn(2 * t, 3, k) * size).to(carried) for k in (p, t))
    seen = torch.arange(1, t + 1).repeat(2)
    hidden = torch.arange(t)[None, :] >= seen[:, None]
    scores = torch.cat([shared.float(), own.float().masked_fill(hidden[:, None], float("-inf"))], dim=-1)
    kernels.soften(fused.array(shared), fused.array(own), seen.numpy(), 0.0625)
    wanted = (scores * 0.0625).softmax(-1)
    assert torch.allclose(
        torch.cat([shared, own], dim=-1).float(), wanted, rtol=STEP[carried] + 1e-4, atol=1e-6
    )


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gate(shape: tuple[int, int], types: tuple[torch.dtype, torch.dtype]) -> None:
    torch.manual_seed(4)
    carried, dtype = types
    given = (torch.randn(shape[0], 2 * shape[1]) * torch.logspace(-3, 3, shape[0])[:, None]).to(carried)
    given[-1] = 0
    by = torch.rand(shape[0]) + 0.5
    x, scale, out = operand(shape, dtype)
    kernels.gate(fused.array(given), by.numpy(), out, scale.numpy())
    gates, ups = (given.double() * by[:, None]).chunk(2, dim=-1)
    wanted = (F.gelu(gates, approximate="tanh") * ups).float()
    if dtype is carried:
        assert torch.allclose(numbers(x, scale), wanted, rtol=STEP[carried] + 1e-4, atol=1e-4)
    else:
        close(x, scale, wanted)


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_take(shape: tuple[int, int], types: tuple[torch.dtype, torch.dtype]) -> None:
    torch.manual_seed(5)
    carried, dtype = types
    given = rows(shape).to(carried)
    x, scale, out = operand(shape, dtype)
    kernels.take(fused.array(given), out, scale.numpy())
    close(x, scale, given.float())


@pytest.mark.parametrize("dtype", [*CARRIED, torch.uint8])
@pytest.mark.parametrize("shape", SHAPES)
def test_narrow(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    given = rows(shape)
    x, scale, out = operand(shape, dtype)
    kernels.narrow(given.numpy(), out, scale.numpy())
    close(x, scale, given)


@pytest.mark.parametrize("carried", CARRIED)
@pytest.mark.parametrize("shape", SHAPES)
def test_widen(shape: tuple[int, int], carried: torch.dtype) -> None:
    torch.manual_seed(7)
    given, by, bias = rows(shape).to(carried), torch.rand(shape[0]) + 0.5, torch.randn(shape[1])
    out = torch.empty(shape)
    kernels.widen(fused.array(given), by.numpy(), bias.numpy(), out.numpy())
    assert torch.allclose(out, given.float() * by[:, None] + bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_add_layer_norm(shape: tuple[int, int], types: tuple[torch.dtype, torch.dtype]) -> None:
    torch.manual_seed(8)
    carried, dtype = types
    stream, mixed = torch.randn(shape), torch.randn(shape).to(carried)
    by, bias, weight, shift = torch.rand(shape[0]) + 0.5, *torch.randn(3, shape[1])
    sums = stream + mixed.float() * by[:, None] + bias
    wanted = F.layer_norm(sums.double(), shape[1:], weight.double(), shift.double(), EPSILON).float()
    x, scale, out = operand(shape, dtype)
    kernels.add_layer_norm(
        stream.numpy(),
        fused.array(mixed),
        by.numpy(),
        bias.numpy(),
        weight.numpy(),
        shift.numpy(),
        EPSILON,
        out,
        scale.numpy(),
    )
    assert torch.allclose(stream, wanted, rtol=1e-4, atol=1e-4)
    close(x, scale, stream)


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gelu(shape: tuple[int, int], types: tuple[torch.dtype, torch.dtype]) -> None:
    torch.manual_seed(9)
    carried, dtype = types
    given = (torch.randn(shape) * torch.logspace(-3, 3, shape[0])[:, None]).to(carried)
    by, bias = torch.rand(shape[0]) + 0.5, torch.randn(shape[1])
    x, scale, out = operand(shape, dtype)
    kernels.gelu(fused.array(given), by.numpy(), bias.numpy(), out, scale.numpy())
    wanted = F.gelu((given.double() * by[:, None] + bias).float(), approximate="tanh")
    if dtype is carried:
        assert torch.allclose(numbers(x, scale), wanted, rtol=STEP[carried] + 1e-4, atol=1e-4)
    else:
        close(x, scale, wanted)


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_found_in_its_row_and_in_no_other(
    broken: float, types: tuple[torch.dtype, torch.dtype]
) -> None:
    carried, dtype = types
    residual, weight = torch.randn(3, 40), torch.randn(40)
    residual[1, 5] = broken
    x, scale, out = operand((3, 40), dtype)
    kernels.norm(residual.numpy(), weight.numpy(), EPSILON, out, scale.numpy())
    assert numbers(x, scale).isfinite().all(-1).tolist() == [True, False, True]
    given = torch.ones(3, 80, dtype=carried)
    given[1, 5] = float("nan")
    kernels.gate(fused.array(given), torch.ones(3).numpy(), out, scale.numpy())
    assert numbers(x, scale).isfinite().all(-1).tolist() == [True, False, True]
    ones = torch.ones(40)
    kernels.gelu(fused.array(given[:, :40].contiguous()), ones[:3].numpy(), ones.numpy(), out, scale.numpy())
    assert numbers(x, scale).isfinite().all(-1).tolist() == [True, False, True]
    residual[1, 5] = broken
    kernels.add_layer_norm(
        residual.numpy(),
        fused.array(given[:, 40:].contiguous()),
        *(ones[:3].numpy(), ones.numpy(), ones.numpy(), ones.numpy(), EPSILON),
        *(out, scale.numpy()),
    )
    assert numbers(x, scale).isfinite().all(-1).tolist() == [True, False, True]
    scores = torch.ones(3, 1, 8, dtype=carried)
    scores[1, 0, 3] = float("nan")
    before = torch.ones(3, 1, 4, dtype=carried)
    kernels.soften(fused.array(before), fused.array(scores), torch.tensor([8, 8, 8]).numpy(), 1.0)
    assert scores.isfinite().all(-1).flatten().tolist() == [True, False, True]


def test_no_kernel_is_compiled_by_being_called() -> None:
    _, scale, out = operand((2, 4), torch.float32)
    with pytest.raises(TypeError, match="No matching definition"):
        kernels.norm(torch.ones(2, 4).double().numpy(), torch.ones(4).numpy(), EPSILON, out, scale.numpy())


def test_every_nan_survives_rounding() -> None:
    """One whose every bit is set would carry over into a zero."""
    residual = torch.full((1, 4), 0x7FFFFFFF, dtype=torch.int32).view(torch.float32)
    x, scale, out = operand((1, 4), torch.bfloat16)
    kernels.norm(residual.numpy(), torch.ones(4).numpy(), EPSILON, out, scale.numpy())
    assert x.isnan().all()


KEPT = """
import sys
import numpy as np
from csrm.scoring import kernels

kernels.add.compile(kernels._signatures[kernels.add].format(carried="float32"))
print(sum(kernels.add.stats.cache_hits.values()), file=sys.stderr)
draw = np.random.default_rng(0)
stream, mixed = draw.normal(size=(2, 64, 640)).astype(np.float32)
scale, weight = np.ones(64, np.float32), draw.normal(size=640).astype(np.float32)
kernels.add(stream, mixed, scale, weight, 1e-6)
sys.stdout.buffer.write(stream.tobytes())
"""


def test_the_process_that_compiles_computes_the_same_numbers_as_later_ones(tmp_path: Path) -> None:
    """In 8-bit integers the last bit of a sum is enough to move a grade by some hundredths."""
    told = [
        subprocess.run(
            [sys.executable, "-c", KEPT],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            check=True,
            timeout=120,
        )
        for _ in range(2)
    ]
    assert [one.stderr.split()[-1] for one in told] == [b"0", b"1"], "the first compiles, the second does not"
    assert len(told[0].stdout) == 64 * 640 * 4
    assert told[0].stdout == told[1].stdout
