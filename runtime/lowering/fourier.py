"""Fourier transforms: lines are gathered into scratch of a worker, one in each SIMD lane, transformed, and put back.

A length of small prime factors is transformed by Stockham's method, which needs no bit reversal: each stage takes one
factor, and its inner loop goes over the lanes and over what earlier stages have put side by side. Any other length is
a convolution by transforms of a power of two (Bluestein 1970). Roots of unity are computed in float64.
"""

from __future__ import annotations

import math

from ...ir import SHORT_NAMES, DType, Node, node_workspace
from ...ir.ops import fourier
from ...passes.memory.plan import Plan
from .data_movement import TILE_ELEMENTS
from .launch import TILE, Call, Launch, Pointer, Scratch, Traps


def lower_fourier(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of lines."""
    x, result = node.inputs[0].type, node.output.type
    axis, plane = node.attrs["axis"], node.attrs["plane"]
    # Planes stand before the axis: (blocks, 2, rows, axis, inner), or without the 2.
    planar = x if node.op is not fourier.rfft else result
    at = axis + (node.op is fourier.rfft)
    blocks, rows = math.prod(planar.shape[:plane]), math.prod(planar.shape[plane + 1 : at])
    inner = math.prod(planar.shape[at + 1 :])
    n = fourier.transform_length([x], node.attrs)
    lines = blocks * rows * inner
    together = fourier.lanes(n, lines, x.dtype.itemsize)
    step = max(1, TILE_ELEMENTS // (n * together)) * together
    line = Scratch(plan.scratch.get(node, 0), plan.target.round_to_line(node_workspace(node)))
    operands = [Pointer.to(plan.views[v]) for v in (node.inputs[0], node.output)]
    sign = 1 if node.op is fourier.irfft or node.attrs.get("inverse") else -1
    length = fourier.convolution_length(n)
    args = [TILE, step, lines, *operands, line, n, together, rows, inner, sign, length]
    kernel = _kernel(x.dtype, node.op is fourier.rfft, node.op is fourier.irfft, bool(length))
    return [Launch(-(-lines // step), [Call(kernel, args)])]


def _kernel(dtype: DType, from_real: bool, to_real: bool, convolves: bool) -> str:
    """Args: tile, lines of a tile, all lines, array, result, scratch of a worker, length, lines together, rows of a
    block, inner, sign of the angle, length of the transforms of a convolution.
    """
    short = SHORT_NAMES[dtype]
    load = "re[j * lanes + w] = x[from_ + j * inner]"
    if from_real:
        load += f"\n                im[j * lanes + w] = {short}(0.0)"
    else:
        load += "\n                im[j * lanes + w] = x[from_ + bins * rows * inner + j * inner]"
    mirror = ""
    if to_real:
        mirror = f"""
                if (j == 0) | (2 * j == n):
                    im[j * lanes + w] = {short}(0.0)
                else:
                    re[(n - j) * lanes + w] = re[j * lanes + w]
                    im[(n - j) * lanes + w] = -im[j * lanes + w]"""
    before = "((blk * 2 * rows + row) * bins) * inner + column"
    alone = "((blk * rows + row) * n) * inner + column"
    put = f"o[to + j * inner] = {'re' if convolves else 'done'}[j * lanes + w]"
    if not to_real:
        put += (
            f"\n                o[to + bins * rows * inner + j * inner] = "
            f"{'im[j * lanes + w]' if convolves else 'done[whole + j * lanes + w]'}"
        )
    return f"""
def kernel(b):
    first = word(b, 0) * word(b, 1)
    last = first + word(b, 1) if first + word(b, 1) < word(b, 2) else word(b, 2)
    x, o, scratch = array_{short}(word(b, 3), 0), array_{short}(word(b, 4), 0), array_{short}(word(b, 5), 0)
    n, most, rows, inner, sign, length = word(b, 6), word(b, 7), word(b, 8), word(b, 9), word(b, 10), word(b, 11)
    turn, half, height = {short}(sign), {short}(0.5), {short}(0.8660254037844386)
    bins = {"n // 2 + 1" if from_real or to_real else "i64(n)"}
    size = length if length else n
    one, other = window(scratch, 0, 2 * size * most), window(scratch, 2 * size * most, 2 * size * most)
    cosines = window(scratch, 4 * size * most, size)
    sines = window(scratch, (4 * most + 1) * size, size)
    {_chirps(short) if convolves else _roots(short, "cosines", "sines", "n", "n", "turn")}
    for start in range(first, last, most):
        lanes = most if start + most < last else last - start
        whole = size * lanes
        re, im = window(one, 0, whole), window(one, whole, whole)
        for w in range(lanes):
            at = start + w
            blk = at // (rows * inner)
            row = at // inner - blk * rows
            column = at % inner
            from_ = {alone if from_real else before}
            for j in range({"n" if from_real else "bins"}):
                {load}{mirror}
        {_CONVOLUTION.replace("{short}", short) if convolves else _DIRECTLY}
        for w in range(lanes):
            at = start + w
            blk = at // (rows * inner)
            row = at // inner - blk * rows
            column = at % inner
            to = {alone if to_real else before}
            for j in range({"n" if to_real else "bins"}):
                {put}
    return i64(0)
"""


_DIRECTLY = """fourier_transform(one, other, cosines, sines, n, lanes, turn, half, height)
        done = window(one, 0, 2 * whole)
        if fourier_stages(n) % 2:
            done = window(other, 0, 2 * whole)"""


def _roots(short: str, cosines: str, sines: str, count: str, whole: str, sign: str, squares: bool = False) -> str:
    """Lines that write `exp(sign 2πi k / whole)` for k = 0, 1, 2, ..., or for their `squares`."""
    # An angle is 2πu / (4 whole), and is led to the first eighth of the circle.
    return f"""for j in parallel_range({count}):
        u = 4 * ({f"j * j % ({whole})" if squares else "j"})
        below = u > 2 * ({whole})
        u = 4 * ({whole}) - u if below else u
        left = u > {whole}
        u = 2 * ({whole}) - u if left else u
        steep = 2 * u > {whole}
        u = {whole} - u if steep else u
        angle = f64(u) * (1.5707963267948966 / f64({whole}))
        c, s = cos_f64(angle), sin_f64(angle)
        across, up = s if steep else c, c if steep else s
        {cosines}[j] = {short}(-across if left else across)
        {sines}[j] = {short}(-{sign} * up if below else {sign} * up)"""


def _chirps(short: str) -> str:
    """Lines that write the numbers of a convolution: the roots of its transforms, the chirp and the filter."""
    return f"""back = {short}(-1.0)
    {_roots(short, "cosines", "sines", "size", "size", "back")}
    chirp_re = window(scratch, (4 * most + 2) * size, n)
    chirp_im = window(scratch, (4 * most + 2) * size + n, n)
    filter_re = window(scratch, (4 * most + 2) * size + 2 * n, size)
    filter_im = window(scratch, (4 * most + 3) * size + 2 * n, size)
    {_roots(short, "chirp_re", "chirp_im", "n", "2 * n", "turn", squares=True)}
    for j in range(2 * size):
        one[j] = {short}(0.0)
    for j in range(n):
        one[j], one[size + j] = chirp_re[j], -chirp_im[j]
        if j > 0:
            one[size - j], one[2 * size - j] = chirp_re[j], -chirp_im[j]
    fourier_transform(one, other, cosines, sines, size, 1, back, half, height)
    odd = fourier_stages(size) % 2
    share = {short}(1.0 / f64(size))
    for j in range(size):
        filter_re[j] = share * (other[j] if odd else one[j])
        filter_im[j] = share * (other[size + j] if odd else one[size + j])"""


_CONVOLUTION = """for j in range(n):
            c, s = chirp_re[j], chirp_im[j]
            for w in parallel_range(lanes):
                p, q = re[j * lanes + w], im[j * lanes + w]
                re[j * lanes + w], im[j * lanes + w] = p * c - q * s, p * s + q * c
        for j in range(n * lanes, whole):
            re[j], im[j] = {short}(0.0), {short}(0.0)
        fourier_transform(one, other, cosines, sines, size, lanes, back, half, height)
        done, spare = window(one, 0, 2 * whole), window(other, 0, 2 * whole)
        if odd:
            done, spare = window(other, 0, 2 * whole), window(one, 0, 2 * whole)
        for j in range(size):
            c, s = filter_re[j], filter_im[j]
            for w in parallel_range(lanes):
                # The conjugate: a second transform forward of that is the conjugate of one back.
                p, q = done[j * lanes + w], done[whole + j * lanes + w]
                done[j * lanes + w], done[whole + j * lanes + w] = p * c - q * s, -(p * s + q * c)
        fourier_transform(done, spare, cosines, sines, size, lanes, back, half, height)
        # Twice as many stages lead back to where the lines began.
        for j in range(n):
            c, s = chirp_re[j], chirp_im[j]
            for w in parallel_range(lanes):
                p, q = re[j * lanes + w], -im[j * lanes + w]
                re[j * lanes + w], im[j * lanes + w] = p * c - q * s, p * s + q * c"""
