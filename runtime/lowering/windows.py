"""Kernels of the window ops: lines of the result, one place of all their windows after the other.

Elements are (outer, L0, L1, L2, inner), windows (outer, M0, M1, M2, inner); axes that are not there have length 1. The
innermost loop runs over `inner`, or over a whole line where windows are one apart. A line of the result is made by one
thread, in the order of the places, so the bits depend on nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ...ir import SHORT_NAMES, Node
from ...ir.ops import window
from ...passes.kernels.window_sums import line_bytes, section
from ...passes.memory.plan import Plan
from .elementwise import literal
from .launch import TILE, Arg, Call, Launch, Pointer, Scratch, Traps

# Elements of the result in one tile.
_TILE = 1 << 14


def lower_window(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over tiles of lines of the result."""
    geometry = WindowGeometry.of(node)
    over_elements = "lengths" in node.attrs
    lines, step = geometry.lines(over_elements), geometry.lines_of_a_tile(over_elements)
    operands = [Pointer.to(plan.views[v]) for v in (node.inputs[0], node.inputs[-1], node.output)]
    args: list[Arg] = [TILE, step, lines, *operands, *geometry.words()]
    if section(node):
        args += [Scratch(plan.scratch.get(node, 0), line_bytes(node, plan.target)), section(node)]
    return [Launch(-(-lines // step), [Call(_window_kernel(node), args)])]


@dataclass(frozen=True)
class WindowGeometry:
    """The lengths of a window op, filled up to three axes by axes of length 1 in front."""

    outer: int
    elements: tuple[int, ...]
    windows: tuple[int, ...]
    inner: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    low: tuple[int, ...]
    dilation: tuple[int, ...]

    @staticmethod
    def of(node: Node) -> WindowGeometry:
        """The geometry of a window op over contiguous arrays."""
        attrs, source, result = node.attrs, node.inputs[0].type.shape, node.output.type.shape
        axes: tuple[int, ...] = attrs["axes"]
        first, last = axes[0], axes[-1] + 1
        missing = 3 - len(axes)
        elements, windows = (result, source) if "lengths" in attrs else (source, result)
        return WindowGeometry(
            math.prod(source[:first]),
            (1,) * missing + elements[first:last],
            (1,) * missing + windows[first:last],
            math.prod(source[last:]),
            (1,) * missing + attrs["size"],
            (1,) * missing + attrs["stride"],
            (0,) * missing + attrs["low"],
            (1,) * missing + attrs["dilation"],
        )

    def words(self) -> list[int]:
        """The numbers that a kernel reads, in its order."""
        return [*self.elements, *self.windows, self.inner, *self.size, *self.stride, *self.low, *self.dilation]

    def lines(self, over_elements: bool) -> int:
        """Lines along the last axis of the result."""
        lengths = self.elements if over_elements else self.windows
        return self.outer * lengths[0] * lengths[1] if lengths[2] * self.inner else 0

    def lines_of_a_tile(self, over_elements: bool) -> int:
        """Lines that one tile makes."""
        line = (self.elements if over_elements else self.windows)[2] * self.inner
        return max(1, _TILE // max(line, 1))


@dataclass(frozen=True)
class _Form:
    """What an op does with element `e`, window `w`, and the window's second operand `a`."""

    over_elements: bool
    start: str
    update: str
    second: bool = False
    backwards: bool = False


_FORMS = {
    window.window_sum: _Form(False, "{zero}", "w[j] = w[j] + e[j]"),
    window.window_max: _Form(False, "{lowest}", "w[j] = e[j] if (e[j] > w[j]) | (e[j] != e[j]) else w[j]"),
    # Places run backwards, so that the first one that fits is the last to be written.
    window.window_find: _Form(
        False,
        "{place}(0)",
        "w[j] = place if (e[j] == a[j]) | ((e[j] != e[j]) & (a[j] != a[j])) else w[j]",
        second=True,
        backwards=True,
    ),
    window.window_pick: _Form(False, "{outside}", "w[j] = e[j] if a[j] == place else w[j]", second=True),
    window.window_spread: _Form(True, "{zero}", "e[j] = e[j] + w[j]"),
    window.window_put: _Form(True, "{zero}", "e[j] = e[j] + (w[j] if a[j] == place else {zero})", second=True),
}


@dataclass(frozen=True)
class FilledForm:
    """A form in source, with the constants and the type of places of a node."""

    over_elements: bool
    start: str
    update: str
    second: bool
    backwards: bool
    place: str


def form_of(node: Node) -> FilledForm:
    """What a node does with element `e`, window `w`, and the window's second operand `a`."""
    form = _FORMS[node.op]
    source, result = node.inputs[0].type.dtype, node.output.type.dtype
    places = node.inputs[-1].type.dtype if node.op in (window.window_pick, window.window_put) else result
    fill = {
        "zero": literal(0, source),
        "lowest": literal(-math.inf, source),
        "outside": literal(node.attrs.get("outside", 0), source),
        "place": SHORT_NAMES[places],
    }
    start, update = form.start.format(**fill), form.update.format(**fill)
    return FilledForm(form.over_elements, start, update, form.second, form.backwards, fill["place"])


def _window_kernel(node: Node) -> str:
    """Args: tile, lines of a tile, all lines, first operand, second operand (or the first once more), result, then
    those of the geometry; for sums over large windows a line of the worker, and the places of a section.
    """
    form = form_of(node)
    source, result = node.inputs[0].type.dtype, node.output.type.dtype
    second, zero = node.inputs[-1].type.dtype, literal(0, node.inputs[0].type.dtype)
    sectioned = section(node) > 0
    start, update = form.start, form.update
    uses_place = "place" in update
    target, other = ("elements", "windows") if form.over_elements else ("windows", "elements")
    # The second operand is one for each window, as are the values of windows.
    arrays = {
        target: f"array_{SHORT_NAMES[result]}(word(b, 5), 0)",
        other: f"array_{SHORT_NAMES[source]}(word(b, 3), 0)",
    }
    lines = [
        "def kernel(b):",
        f"    elements = {arrays['elements']}",
        f"    windows = {arrays['windows']}",
        *([f"    seconds = array_{SHORT_NAMES[second]}(word(b, 4), 0)"] if form.second else []),
        *(f"    {name} = word(b, {6 + i})" for i, name in enumerate(_NAMES)),
        "    first = word(b, 0) * word(b, 1)",
        "    last = first + word(b, 1) if first + word(b, 1) < word(b, 2) else word(b, 2)",
        "    for line in range(first, last):",
    ]
    t = "l" if form.over_elements else "m"
    lines += [
        f"        q = line // {t}1",
        f"        t1 = line - q * {t}1",
        f"        n = q // {t}0",
        f"        t0 = q - n * {t}0",
        f"        length = {t}2 * inner",
        f"        target = window({target}, line * length, length)",
        "        for j in range(length):",
        f"            target[j] = {start}",
    ]
    if sectioned:
        line, places_of_section = (f"word(b, {6 + len(_NAMES) + i})" for i in range(2))
        lines += [
            f"        sums = window(array_{SHORT_NAMES[result]}({line}, 0), 0, length)",
            "        for j in range(length):",
            f"            sums[j] = {zero}",
            f"        section, taken = {places_of_section}, i64(0)",
        ]
    for axis in (0, 1):
        pad = "    " * (2 + axis)
        k = f"k{axis}"
        backwards = f"size{axis} - 1 - " if form.backwards else ""
        lines.append(f"{pad}for at{axis} in range(size{axis}):")
        lines.append(f"{pad}    {k} = {backwards}at{axis}")
        if form.over_elements:
            lines += [
                f"{pad}    u{axis} = t{axis} + low{axis} - {k} * dilation{axis}",
                f"{pad}    s{axis} = u{axis} // stride{axis}",
                f"{pad}    if (u{axis} < 0) | (s{axis} * stride{axis} != u{axis}) | (s{axis} >= m{axis}):",
                f"{pad}        continue",
            ]
        else:
            lines += [
                f"{pad}    s{axis} = t{axis} * stride{axis} - low{axis} + {k} * dilation{axis}",
                f"{pad}    if (s{axis} < 0) | (s{axis} >= l{axis}):",
                f"{pad}        continue",
            ]
    backwards = "size2 - 1 - " if form.backwards else ""
    o = "m" if form.over_elements else "l"
    rows = {target: "line", other: f"(n * {o}0 + s0) * {o}1 + s1"}
    places_in = {"elements": "elements", "windows": "windows"}
    if sectioned:
        rows[target], places_in[target] = "0", "sums"
    lines += [
        f"                element_row = ({rows['elements']}) * l2",
        f"                window_row = ({rows['windows']}) * m2",
        "                for at2 in range(size2):",
        f"                    k2 = {backwards}at2",
        # Windows from `begin` to `end` have this place among the elements.
        "                    shift = k2 * dilation2 - low2",
        "                    begin = (stride2 - 1 - shift) // stride2 if shift < 0 else 0",
        "                    end = (l2 - 1 - shift) // stride2 + 1 if shift < l2 else 0",
        "                    end = end if end < m2 else m2",
        *([f"                    place = {form.place}((k0 * size1 + k1) * size2 + k2)"] if uses_place else []),
        "                    if end <= begin:",
        "                        continue",
        "                    if stride2 == 1:",
        "                        count = (end - begin) * inner",
        *_windows_at(" " * 24, form, places_in, "element_row + begin + shift", "window_row + begin", "count"),
        "                        for j in range(count):",
        f"                            {update}",
        "                    elif inner == 1:",
    ]
    lines += [
        *_windows_at(
            "                        ",
            form,
            places_in,
            "element_row + begin * stride2 + shift",
            "window_row + begin",
            "1",
        ),
        "                        for i in range(end - begin):",
        f"                            {_strided(update)}",
        "                    else:",
        "                        for i in range(begin, end):",
        *_windows_at(
            "                            ",
            form,
            places_in,
            "element_row + i * stride2 + shift",
            "window_row + i",
            "inner",
        ),
        "                            for j in range(inner):",
        f"                                {update}",
        *(_section_ends(zero) if sectioned else []),
        "    return i64(0)",
        "",
    ]
    return "\n".join(lines)


_NAMES = [
    *("l0", "l1", "l2", "m0", "m1", "m2", "inner"),
    *(f"{name}{axis}" for name in ("size", "stride", "low", "dilation") for axis in range(3)),
]


def _windows_at(
    indent: str, form: FilledForm, arrays: Mapping[str, str], element: str, window: str, count: str
) -> list[str]:
    return [
        f"{indent}e = window({arrays['elements']}, ({element}) * inner, {count})",
        f"{indent}w = window({arrays['windows']}, ({window}) * inner, {count})",
        *([f"{indent}a = window(seconds, ({window}) * inner, {count})"] if form.second else []),
    ]


def _section_ends(zero: str) -> list[str]:
    """After a place: the sums of a whole section are added to those of the line; after the line, those of the last."""
    return [
        "                    taken += 1",
        "                    if taken == section:",
        "                        taken = i64(0)",
        "                        for j in range(length):",
        "                            target[j] = target[j] + sums[j]",
        f"                            sums[j] = {zero}",
        "        for j in range(length):",
        "            target[j] = target[j] + sums[j]",
    ]


def _strided(update: str) -> str:
    return update.replace("e[j]", "e[i * stride2]").replace("w[j]", "w[i]").replace("a[j]", "a[i]")
