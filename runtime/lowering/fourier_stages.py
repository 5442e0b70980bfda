"""The stages of Fourier transforms: functions that become part of the kernels of `fourier`.

They run in Python as they are. Numbers of the dtype of a transform are passed in: `turn`, the sign of its angles,
`half`, and `height`, half the root of 3.
"""

import numpy as np

from ..codegen.intrinsics import parallel_range, window


def _stage(re, im, to_re, to_im, cosines, sines, radix, m, s, step, lanes, turn, half, height):
    # y[q + s (radix p + k)] = w^(p k) Σ_t w_radix^(k t) x[q + s (p + m t)]
    width = s * lanes
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
            high = turn * height
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
                i, j = a - e, b - f
                u2[q], v2[q] = i * c2 - j * s2, i * s2 + j * c2
                i, j = c + g, d + h
                u1[q], v1[q] = i * c1 - j * s1, i * s1 + j * c1
                i, j = c - g, d - h
                u3[q], v3[q] = i * c3 - j * s3, i * s3 + j * c3
        else:
            turns = step * m
            for k in range(radix):
                u, v = window(to_re, away + k * width, width), window(to_im, away + k * width, width)
                for q in parallel_range(width):
                    u[q], v[q] = x0[q], y0[q]
                for t in range(1, radix):
                    x, y = window(re, at + t * m * width, width), window(im, at + t * m * width, width)
                    c, d = cosines[k * t % radix * turns], sines[k * t % radix * turns]
                    for q in parallel_range(width):
                        a, b = x[q] * c - y[q] * d, x[q] * d + y[q] * c
                        u[q], v[q] = u[q] + a, v[q] + b
                c, d = cosines[p * k * step], sines[p * k * step]
                for q in parallel_range(width):
                    a, b = u[q] * c - v[q] * d, u[q] * d + v[q] * c
                    u[q], v[q] = a, b


def _factor(n):
    if n % 4 == 0:
        return np.int64(4)
    found = np.int64(2)
    while n % found:
        found += 1
    return found


def fourier_stages(n):
    """How many stages a transform of n numbers has."""
    count = np.int64(0)
    while n > 1:
        n = n // _factor(n)
        count += 1
    return count


def fourier_transform(one, other, cosines, sines, n, lanes, turn, half, height):
    """Transforms from the buffer `one` to `other` and back, `fourier_stages(n)` times; imaginary parts are behind."""
    whole = n * lanes
    m, s = np.int64(n), np.int64(1)
    source, target = window(one, 0, 2 * whole), window(other, 0, 2 * whole)
    while m > 1:
        radix = _factor(m)
        m = m // radix
        _stage(
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
            turn,
            half,
            height,
        )
        s = s * radix
        source, target = target, source
    return np.int64(0)
