"""What a layer does between its matrix products, each in one pass over memory; compiled by numba, on one thread.

What products give is fp32 or bf16, and what they take is the same or 8-bit integers. bf16 is taken and given as its
bits (int16), which numpy has no type for. Each row of what goes into a product has a scale, which is 1 unless it was
rounded to integers. What is no number stays none: fast arithmetic that may take numbers to be finite is not used.

Knows arrays; knows no torch, no model and no threads (no kernel holds Python's lock). ``prepare`` compiles them for the
types that are to be used, and keeps them beside this module, or in the user's cache folder where that cannot be
written.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from csrm.scoring.rounding import LARGEST, TINY, ZERO

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Carried = NDArray[Any]
"""What a product gives, and attention works in: fp32, or the bits of bf16."""

Operand = NDArray[Any]
"""What goes into a product: what is carried, or unsigned bytes around ``ZERO``."""

Scalar = float | np.float32
"""One number; it is computed with in fp32."""

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_HALF = np.float32(ZERO + 0.5)  # what is cut off then rounds to the nearest
_LARGEST, _TINY, _ONE = np.float32(LARGEST), np.float32(TINY), np.float32(1)
_INFINITE, _SIGNLESS, _NAN = np.int32(0x7F800000), np.int32(0x7FFFFFFF), np.int32(0x7FC0)
_SIXTEEN, _ROUND, _LAST_BIT = np.int32(16), np.int32(0x7FFF), np.int32(1)
_BIAS, _MANTISSA = np.int32(127), np.int32(23)
_LOWEST = np.float32(-126)  # of the exponents of two
_LOG2_E = np.float32(1.44269504)
_P1, _P2, _P3 = np.float32(0.69314718), np.float32(0.24022651), np.float32(0.05550411)
_P4, _P5 = np.float32(0.00961813), np.float32(0.00133336)
# gelu(x) = x / (1 + 2 ** (x * (_G1 + _G3 * x * x))), from x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3)))
_G1, _G3 = np.float32(-2.302208198), np.float32(-0.1029432397)

_FAST = {"reassoc", "contract", "arcp", "nsz"}

_signatures: dict[Any, str] = {}
"""What each kernel is compiled for, with places for the types of ``prepare``.

Numbers are Python's (float64). While kernels are compiled for another model, a call whose types are not exactly these
would be compiled too, or fail.
"""

_lock = threading.Lock()


def _compiled(signature: str | None = None) -> Callable[[Kernel], Kernel]:
    """A kernel that ``prepare`` compiles; without a signature it is compiled with those that call it."""

    def decorate(function: Kernel) -> Kernel:
        options: dict[str, Any] = {"nogil": True, "fastmath": _FAST, "error_model": "numpy"}
        # Called, helpers would sum in another order in the process that compiles them than in later ones.
        options["forceinline"] = signature is None
        found: Any
        try:
            found = njit(cache=True, **options)(function)
        except RuntimeError as error:  # numba's word for it that there is no folder to keep them in
            if "cannot cache" not in str(error):
                raise
            log.warning("%s is compiled at every start: no cache folder can be written", function.__name__)
            found = njit(**options)(function)
        if signature is not None:
            _signatures[found] = signature
        kernel: Kernel = found
        return kernel

    return decorate


def prepare(carried: str, operand: str) -> None:
    """Compile the kernels for these types, or take what was compiled before.

    Args:
        carried: numpy's name of the type that products give, ``float32`` or ``int16`` (bf16).
        operand: of the type that they take, ``carried`` or ``uint8``.
    """
    began, compiled = time.perf_counter(), 0
    with _lock:
        for kernel, signature in _signatures.items():
            before = sum(kernel.stats.cache_misses.values())
            kernel.disable_compile(False)
            kernel.compile(signature.format(carried=carried, operand=operand))
            kernel.disable_compile()  # of other types it would run slowly
            compiled += sum(kernel.stats.cache_misses.values()) - before
    if compiled:
        log.info(
            "Compiled %d kernels in %.1f s; the next start finds them", compiled, time.perf_counter() - began
        )


@_compiled()
def _spread(carried: Carried, whole: NDArray[np.int32]) -> None:
    """To the bits of fp32."""
    if carried.itemsize == 2:
        bits = carried.view(np.int16)
        for i in range(bits.shape[0]):
            whole[i] = np.int32(bits[i]) << _SIXTEEN
    else:
        whole[:] = carried.view(np.int32)


@_compiled()
def _put(floats: Floats, whole: NDArray[np.int32], out: Operand) -> Scalar:
    """Round a row, whose bits are ``whole``, and give its scale."""
    if out.itemsize == 4:
        out[:] = floats
        return _ONE
    if out.itemsize == 2:
        for i in range(out.shape[0]):
            u = whole[i]
            rounded = (u + _ROUND + ((u >> _SIXTEEN) & _LAST_BIT)) >> _SIXTEEN
            out[i] = np.int16(_NAN if (u & _SIGNLESS) > _INFINITE else rounded)
        return _ONE
    most = np.int32(0)
    for i in range(out.shape[0]):  # as integers: then what is no number is the largest
        most = max(most, whole[i] & _SIGNLESS)
    one = np.empty(1, np.int32)
    one[0] = most
    largest: Scalar = one.view(np.float32)[0]
    if largest < _TINY:
        largest = _TINY
    steps = _LARGEST / largest
    for i in range(out.shape[0]):
        out[i] = np.uint8(np.int32(floats[i] * steps + _HALF))
    return largest / _LARGEST


@_compiled()
def _inverse(row: Floats, epsilon: Scalar) -> Scalar:
    """One over the root mean square of a row."""
    squares = np.float32(0)
    for i in range(row.shape[0]):
        squares += row[i] * row[i]
    inverse: Scalar = _ONE / np.sqrt(squares / np.float32(row.shape[0]) + np.float32(epsilon))
    return inverse


@_compiled()
def _put_norm(
    row: Floats, weight: Floats, epsilon: Scalar, floats: Floats, whole: NDArray[np.int32], out: Operand
) -> Scalar:
    inverse = _inverse(row, epsilon)
    for i in range(row.shape[0]):
        floats[i] = row[i] * inverse * weight[i]
    return _put(floats, whole, out)


@_compiled()
def _add_row(
    row: Floats,
    mixed: Carried,
    scale: Scalar,
    weight: Floats,
    epsilon: Scalar,
    floats: Floats,
    whole: NDArray[np.int32],
) -> None:
    _spread(mixed, whole)
    for i in range(row.shape[0]):
        floats[i] *= scale
    inverse = _inverse(floats, epsilon)
    for i in range(row.shape[0]):
        row[i] += floats[i] * inverse * weight[i]


@_compiled("void(float32[:,::1], float32[::1], float64, {operand}[:,::1], float32[::1])")
def norm(residual: Floats, weight: Floats, epsilon: Scalar, out: Operand, scale: Floats) -> None:
    """Root-mean-square norm (m, k) with ``weight`` (k,), rounded into ``out`` (m, k) and ``scale`` (m,)."""
    whole = np.empty(residual.shape[1], np.int32)
    floats = whole.view(np.float32)
    for r in range(residual.shape[0]):
        scale[r] = _put_norm(residual[r], weight, epsilon, floats, whole, out[r])


@_compiled("void(float32[:,::1], {carried}[:,::1], float32[::1], float32[::1], float64)")
def add(residual: Floats, mixed: Carried, mixed_scale: Floats, weight: Floats, epsilon: Scalar) -> None:
    """Add the norm of what a product gave, times its scale, to the residual stream (m, k), in place."""
    whole = np.empty(residual.shape[1], np.int32)
    floats = whole.view(np.float32)
    for r in range(residual.shape[0]):
        _add_row(residual[r], mixed[r], mixed_scale[r], weight, epsilon, floats, whole)


@_compiled(
    "void(float32[:,::1], {carried}[:,::1], float32[::1], float32[::1], float32[::1], float64,"
    " {operand}[:,::1], float32[::1])"
)
def add_norm(
    residual: Floats,
    mixed: Carried,
    mixed_scale: Floats,
    weight: Floats,
    following: Floats,
    epsilon: Scalar,
    out: Operand,
    scale: Floats,
) -> None:
    """``add``, and then ``norm`` with the weight ``following``, row by row."""
    whole = np.empty(residual.shape[1], np.int32)
    floats = whole.view(np.float32)
    for r in range(residual.shape[0]):
        _add_row(residual[r], mixed[r], mixed_scale[r], weight, epsilon, floats, whole)
        scale[r] = _put_norm(residual[r], following, epsilon, floats, whole, out[r])


@_compiled(
    "void({carried}[:,:,::1], float32[::1], float32[::1], float32[::1], float32[:,::1], float32[:,::1], float64,"
    " {carried}[:,:,::1], {carried}[:,::1], {carried}[:,::1])"
)
def turn(
    fused: Carried,
    scale: Floats,
    norm_q: Floats,
    norm_k: Floats,
    cos: Floats,
    sin: Floats,
    epsilon: Scalar,
    queries: Carried,
    keys: Carried,
    values: Carried,
) -> None:
    """Cut up what the first projection gave, norm and rotate queries and keys, and scale the values.

    Args:
        fused: (m, heads + 2, d): the heads of a token, its key and its value; a token is each row of ``scale`` (m,).
        norm_q, norm_k: (d,).
        cos, sin: of each position, (t, d); the tokens are rows of t positions, one after another.
        queries: out, (m, heads, d).
        keys, values: out, (m, d).
    """
    heads, d = queries.shape[1], queries.shape[2]
    half = d // 2
    spread = np.empty(d, np.int32)
    row = spread.view(np.float32)
    whole = np.empty(d, np.int32)
    turned = whole.view(np.float32)
    for m in range(fused.shape[0]):
        t = m % cos.shape[0]
        for j in range(heads + 1):
            _spread(fused[m, j], spread)
            for i in range(d):
                row[i] *= scale[m]
            inverse = _inverse(row, epsilon)
            weight = norm_q if j < heads else norm_k
            for i in range(d):
                row[i] *= inverse * weight[i]
            for i in range(half):
                turned[i] = row[i] * cos[t, i] - row[i + half] * sin[t, i]
                turned[i + half] = row[i + half] * cos[t, i + half] + row[i] * sin[t, i + half]
            _put(turned, whole, queries[m, j] if j < heads else keys[m])
        _spread(fused[m, heads + 1], spread)
        for i in range(d):
            turned[i] = row[i] * scale[m]
        _put(turned, whole, values[m])


@_compiled("void({carried}[:,:,::1], {carried}[:,:,::1], int64[::1], float64)")
def soften(shared: Carried, own: Carried, seen: NDArray[np.int64], factor: Scalar) -> None:
    """Softmax over the scores of the prefix and those of a token's own row, in place.

    Args:
        shared: scores with the prefix, (queries, heads, p).
        own: scores with the own row, (queries, heads, t).
        seen: how many of its own row a query sees, (queries,); the weights of others become 0.
        factor: of the scores.
    """
    p, t = shared.shape[2], own.shape[2]
    whole, twos = np.empty(p + t, np.int32), np.empty(p + t, np.int32)
    floats, powers = whole.view(np.float32), twos.view(np.float32)
    for m in range(own.shape[0]):
        end = p + seen[m]
        for j in range(own.shape[1]):
            _spread(shared[m, j], whole[:p])
            _spread(own[m, j], whole[p:])
            most = np.float32(-np.inf)
            for i in range(end):
                most = max(most, floats[i])
            for i in range(end):
                z = (floats[i] - most) * (np.float32(factor) * _LOG2_E)
                if z < _LOWEST:  # and not `max`, which would lose what is no number
                    z = _LOWEST
                k = np.rint(z)
                f = z - k
                twos[i] = (np.int32(k) + _BIAS) << _MANTISSA
                floats[i] = _ONE + f * (_P1 + f * (_P2 + f * (_P3 + f * (_P4 + f * _P5))))
            total = np.float32(0)
            for i in range(end):
                floats[i] *= powers[i]
                total += floats[i]
            share = _ONE / total
            for i in range(end):
                floats[i] *= share
            for i in range(end, p + t):
                floats[i] = np.float32(0)
            _put(floats[:p], whole[:p], shared[m, j])
            _put(floats[p:], whole[p:], own[m, j])


@_compiled("void({carried}[:,::1], float32[::1], {operand}[:,::1], float32[::1])")
def gate(gate_up: Carried, gate_scale: Floats, out: Operand, scale: Floats) -> None:
    """``gelu(gate) * up`` (m, k) of the product (m, 2 k) that gave both, times its scale; gelu's tanh form."""
    k = out.shape[1]
    spread, whole, twos = np.empty(k, np.int32), np.empty(k, np.int32), np.empty(k, np.int32)
    gates, floats, powers = spread.view(np.float32), whole.view(np.float32), twos.view(np.float32)
    for r in range(out.shape[0]):
        _spread(gate_up[r, :k], spread)
        _spread(gate_up[r, k:], whole)
        by = gate_scale[r]
        for i in range(k):
            x = gates[i] * by
            z = x * (_G1 + _G3 * x * x)
            z = min(max(z, _LOWEST), -_LOWEST)  # what is no number is still in the product below
            n = np.rint(z)
            f = z - n
            twos[i] = (np.int32(n) + _BIAS) << _MANTISSA
            gates[i] = _ONE + f * (_P1 + f * (_P2 + f * (_P3 + f * (_P4 + f * _P5))))
            floats[i] *= x * by
        for i in range(k):
            floats[i] /= _ONE + powers[i] * gates[i]
        scale[r] = _put(floats, whole, out[r])


@_compiled("void({carried}[:,::1], {operand}[:,::1], float32[::1])")
def take(carried: Carried, out: Operand, scale: Floats) -> None:
    """What is carried (m, k) as a product takes it, in ``out`` (m, k), and the scale of each row (m,)."""
    whole = np.empty(out.shape[1], np.int32)
    floats = whole.view(np.float32)
    for r in range(out.shape[0]):
        _spread(carried[r], whole)
        scale[r] = _put(floats, whole, out[r])


@_compiled("void(float32[:,::1], {operand}[:,::1], float32[::1])")
def narrow(rows: Floats, out: Operand, scale: Floats) -> None:
    """Rows of fp32 (m, k) as a product takes them, in ``out`` (m, k), and the scale of each (m,)."""
    whole = np.empty(out.shape[1], np.int32)
    floats = whole.view(np.float32)
    for r in range(out.shape[0]):
        floats[:] = rows[r]
        scale[r] = _put(floats, whole, out[r])


@_compiled("void({carried}[:,::1], float32[::1], float32[::1], float32[:,::1])")
def widen(mixed: Carried, mixed_scale: Floats, bias: Floats, out: Floats) -> None:
    """What a product gave (m, k), times its scale (m,) and with its bias (k,), in fp32 in ``out`` (m, k)."""
    whole = np.empty(out.shape[1], np.int32)
    floats = whole.view(np.float32)
    for r in range(out.shape[0]):
        _spread(mixed[r], whole)
        for i in range(out.shape[1]):
            out[r, i] = floats[i] * mixed_scale[r] + bias[i]


@_compiled(
    "void(float32[:,::1], {carried}[:,::1], float32[::1], float32[::1], float32[::1], float32[::1], float64,"
    " {operand}[:,::1], float32[::1])"
)
def add_layer_norm(
    stream: Floats,
    mixed: Carried,
    mixed_scale: Floats,
    bias: Floats,
    weight: Floats,
    shift: Floats,
    epsilon: Scalar,
    out: Operand,
    scale: Floats,
) -> None:
    """Add what a product gave, times its scale and with its bias, to the stream (m, k), and take its layer norm: in
    place, and as the next product takes it."""
    k = stream.shape[1]
    whole = np.empty(k, np.int32)
    floats = whole.view(np.float32)
    share = _ONE / np.float32(k)
    for r in range(stream.shape[0]):
        _spread(mixed[r], whole)
        total = np.float32(0)
        for i in range(k):
            floats[i] = floats[i] * mixed_scale[r] + bias[i] + stream[r, i]
            total += floats[i]
        mean = total * share
        squares = np.float32(0)
        for i in range(k):
            floats[i] -= mean
            squares += floats[i] * floats[i]
        inverse = _ONE / np.sqrt(squares * share + np.float32(epsilon))
        for i in range(k):
            floats[i] = floats[i] * inverse * weight[i] + shift[i]
            stream[r, i] = floats[i]
        scale[r] = _put(floats, whole, out[r])


@_compiled("void({carried}[:,::1], float32[::1], float32[::1], {operand}[:,::1], float32[::1])")
def gelu(mixed: Carried, mixed_scale: Floats, bias: Floats, out: Operand, scale: Floats) -> None:
    """gelu (m, k) of what a product gave, scaled and with its bias: the tanh form, .0005 from erf's at most."""
    k = out.shape[1]
    spread, whole, twos = np.empty(k, np.int32), np.empty(k, np.int32), np.empty(k, np.int32)
    xs, floats, powers = spread.view(np.float32), whole.view(np.float32), twos.view(np.float32)
    for r in range(out.shape[0]):
        _spread(mixed[r], spread)
        by = mixed_scale[r]
        for i in range(k):
            x = xs[i] * by + bias[i]
            z = x * (_G1 + _G3 * x * x)
            z = min(max(z, _LOWEST), -_LOWEST)  # what is no number is still in the product below
            n = np.rint(z)
            f = z - n
            twos[i] = (np.int32(n) + _BIAS) << _MANTISSA
            xs[i] = _ONE + f * (_P1 + f * (_P2 + f * (_P3 + f * (_P4 + f * _P5))))
            floats[i] = x
        for i in range(k):
            floats[i] /= _ONE + powers[i] * xs[i]
        scale[r] = _put(floats, whole, out[r])
