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


_ROOTS = """
def roots(cosines, sines, n, whole, squares, sign):
    # exp(sign 2πi k / whole) for k = 0, 1, 2, ..., or for the half squares. An angle is 2πu / (4 whole), and is led to
    # the first eighth of the circle.
    for j in parallel_range(n):
        u = 4 * (j * j % whole if squares else j)
        below = u > 2 * whole
        u = 4 * whole - u if below else u
        left = u > whole
        u = 2 * whole - u if left else u
        steep = 2 * u > whole
        u = whole - u if steep else u
        angle = f64(u) * (1.5707963267948966 / f64(whole))
        c, s = cos_f64(angle), sin_f64(angle)
        x, y = s if steep else c, c if steep else s
        cosines[j] = {short}(-x if left else x)
        sines[j] = {short}(-sign * y if below else sign * y)
"""

_STAGES = """
def stage(re, im, to_re, to_im, cosines, sines, radix, m, s, step, lanes, sign):
    # y[q + s (radix p + k)] = w^(p k) Σ_l w_radix^(k l) x[q + s (p + m l)]
    width = s * lanes
    one, half = {short}(1.0), {short}(0.5)
    turn = {short}(sign)
    for p in range(m):
        at, away = p * width, radix * p * width
        x0, y0 = window(re, at, width), window(im, at, width)
        x1, y1 = window(re, at + m * width, width), window(im, at + m * width, width)
        u0, v0 = window(to_re, away, width), window(to_im, away, width)
        u1, v1 = window(to_re, away + width, width), window(to_im, away + width, width)
        c1, s1 = cosines[p * step], sines[p * step]
        if radix == 2:
            for q in parallel_range(width):
                a, b = x0[q] - x1[q], y0[q] - y1[q]
                u0[q], v0[q] = x0[q] + x1[q], y0[q] + y1[q]
                u1[q], v1[q] = a * c1 - b * s1, a * s1 + b * c1
        elif radix == 3:
            x2, y2 = window(re, at + 2 * m * width, width), window(im, at + 2 * m * width, width)
            u2, v2 = window(to_re, away + 2 * width, width), window(to_im, away + 2 * width, width)
            c2, s2 = cosines[2 * p * step], sines[2 * p * step]
            high = turn * {short}(0.8660254037844386)
            for q in parallel_range(width):
                a, b = x1[q] + x2[q], y1[q] + y2[q]
                c, d = x0[q] - half * a, y0[q] - half * b
                e, f = high * (y2[q] - y1[q]), high * (x1[q] - x2[q])
                u0[q], v0[q] = x0[q] + a, y0[q] + b
                g, h = c + e, d + f
                u1[q], v1[q] = g * c1 - h * s1, g * s1 + h * c1
                g, h = c - e, d - f
                u2[q], v2[q] = g * c2 - h * s2, g * s2 + h * c2
        elif radix == 4:
            x2, y2 = window(re, at + 2 * m * width, width), window(im, at + 2 * m * width, width)
            x3, y3 = window(re, at + 3 * m * width, width), window(im, at + 3 * m * width, width)
            u2, v2 = window(to_re, away + 2 * width, width), window(to_im, away + 2 * width, width)
            u3, v3 = window(to_re, away + 3 * width, width), window(to_im, away + 3 * width, width)
            c2, s2 = cosines[2 * p * step], sines[2 * p * step]
            c3, s3 = cosines[3 * p * step], sines[3 * p * step]
            for q in parallel_range(width):
                a, b = x0[q] + x2[q], y0[q] + y2[q]
                c, d = x0[q] - x2[q], y0[q] - y2[q]
                e, f = x1[q] + x3[q], y1[q] + y3[q]
                g, h = turn * (y3[q] - y1[q]), turn * (x1[q] - x3[q])
                u0[q], v0[q] = a + e, b + f
                k, l = a - e, b - f
                u2[q], v2[q] = k * c2 - l * s2, k * s2 + l * c2
                k, l = c + g, d + h
                u1[q], v1[q] = k * c1 - l * s1, k * s1 + l * c1
                k, l = c - g, d - h
                u3[q], v3[q] = k * c3 - l * s3, k * s3 + l * c3
        else:
            turns = step * m
            for k in range(radix):
                u, v = window(to_re, away + k * width, width), window(to_im, away + k * width, width)
                for q in parallel_range(width):
                    u[q], v[q] = x0[q], y0[q]
                for l in range(1, radix):
                    x, y = window(re, at + l * m * width, width), window(im, at + l * m * width, width)
                    c, d = cosines[k * l % radix * turns], sines[k * l % radix * turns]
                    for q in parallel_range(width):
                        a, b = x[q] * c - y[q] * d, x[q] * d + y[q] * c
                        u[q], v[q] = u[q] + a, v[q] + b
                c, d = cosines[p * k * step], sines[p * k * step]
                for q in parallel_range(width):
                    a, b = u[q] * c - v[q] * d, u[q] * d + v[q] * c
                    u[q], v[q] = a, b


def factor(n):
    if n % 4 == 0:
        return i64(4)
    found = i64(2)
    while n % found:
        found += 1
    return found


def stages(n):
    count = i64(0)
    while n > 1:
        n = n // factor(n)
        count += 1
    return count


def transform(one, other, cosines, sines, n, lanes, sign):
    # From the buffer `one` to `other` and back, `stages(n)` times. Imaginary parts are behind the real ones.
    whole = n * lanes
    m, s = i64(n), i64(1)
    source, target = window(one, 0, 2 * whole), window(other, 0, 2 * whole)
    while m > 1:
        radix = factor(m)
        m = m // radix
        stage(
            window(source, 0, whole),
            window(source, whole, whole),
            window(target, 0, whole),
            window(target, whole, whole),
            cosines,
            sines,
            radix,
            m,
            s,
            s,
            lanes,
            sign,
        )
        s = s * radix
        source, target = target, source
    return i64(0)
"""


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
    return f"""{_ROOTS.replace("{short}", short)}
{_STAGES.replace("{short}", short)}

def kernel(b):
    first = word(b, 0) * word(b, 1)
    last = first + word(b, 1) if first + word(b, 1) < word(b, 2) else word(b, 2)
    x, o, scratch = array_{short}(word(b, 3), 0), array_{short}(word(b, 4), 0), array_{short}(word(b, 5), 0)
    n, most, rows, inner, sign, length = word(b, 6), word(b, 7), word(b, 8), word(b, 9), word(b, 10), word(b, 11)
    bins = {"n // 2 + 1" if from_real or to_real else "i64(n)"}
    size = length if length else n
    one, other = window(scratch, 0, 2 * size * most), window(scratch, 2 * size * most, 2 * size * most)
    cosines = window(scratch, 4 * size * most, size)
    sines = window(scratch, (4 * most + 1) * size, size)
    {_CHIRPS.replace("{short}", short) if convolves else f"roots(cosines, sines, n, n, False, {short}(sign))"}
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


_DIRECTLY = """transform(one, other, cosines, sines, n, lanes, sign)
        done = window(one, 0, 2 * whole)
        if stages(n) % 2:
            done = window(other, 0, 2 * whole)"""

_CHIRPS = """roots(cosines, sines, size, size, False, {short}(-1.0))
    chirp_re = window(scratch, (4 * most + 2) * size, n)
    chirp_im = window(scratch, (4 * most + 2) * size + n, n)
    filter_re = window(scratch, (4 * most + 2) * size + 2 * n, size)
    filter_im = window(scratch, (4 * most + 3) * size + 2 * n, size)
    roots(chirp_re, chirp_im, n, 2 * n, True, {short}(sign))
    for j in range(2 * size):
        one[j] = {short}(0.0)
    for j in range(n):
        one[j], one[size + j] = chirp_re[j], -chirp_im[j]
        if j > 0:
            one[size - j], one[2 * size - j] = chirp_re[j], -chirp_im[j]
    transform(one, other, cosines, sines, size, 1, -1)
    odd = stages(size) % 2
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
        transform(one, other, cosines, sines, size, lanes, -1)
        done, spare = window(one, 0, 2 * whole), window(other, 0, 2 * whole)
        if odd:
            done, spare = window(other, 0, 2 * whole), window(one, 0, 2 * whole)
        for j in range(size):
            c, s = filter_re[j], filter_im[j]
            for w in parallel_range(lanes):
                # The conjugate: a second transform forward of that is the conjugate of one back.
                p, q = done[j * lanes + w], done[whole + j * lanes + w]
                done[j * lanes + w], done[whole + j * lanes + w] = p * c - q * s, -(p * s + q * c)
        transform(done, spare, cosines, sines, size, lanes, -1)
        # Twice as many stages lead back to where the lines began.
        for j in range(n):
            c, s = chirp_re[j], chirp_im[j]
            for w in parallel_range(lanes):
                p, q = re[j * lanes + w], -im[j * lanes + w]
                re[j * lanes + w], im[j * lanes + w] = p * c - q * s, p * s + q * c"""
