"""Window ops on a GPU: a thread an element of the result, which takes the places of all its windows in their order."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir import SHORT_NAMES, Node
from ...passes.kernels.window_sums import section
from ...passes.memory.plan import Plan
from .elementwise import literal
from .gpu_copies import ElementText
from .launch import Launch, Pointer, Traps
from .windows import WindowGeometry, form_of


def lower_gpu_window(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """One launch over the elements of the result."""
    geometry, form = WindowGeometry.of(node), form_of(node)
    text = ElementText(node.output.type.size)
    zero = literal(0, node.inputs[0].type.dtype)
    for name, value in (("x", node.inputs[0]), ("seconds", node.inputs[-1]), ("o", node.output)):
        at = text.word(Pointer.to(plan.views[value]))
        text.head.append(f"    {name} = array_{SHORT_NAMES[value.type.dtype]}({at}, 0)")
    made, other = (geometry.elements, geometry.windows)[:: 1 if form.over_elements else -1]
    inner = text.stride(geometry.inner)
    text.element(f"j = e % {inner}", f"q = e // {inner}")
    for axis in (2, 1, 0):
        text.element(f"t{axis} = q % {text.stride(made[axis])}", f"q = q // {text.stride(made[axis])}")
    of_other = "q"
    for axis in range(3):
        of_other = f"({of_other} * {text.stride(other[axis])} + s{axis})"
    sums = "part" if section(node) else "total"
    mine, read_one = ("e[j]", "w[j]") if form.over_elements else ("w[j]", "e[j]")
    second = "seconds[at]" if form.over_elements else "seconds[e]"
    update = form.update.replace(mine, sums).replace(read_one, "x[at]").replace("a[j]", second)
    lines = [f"at = {of_other} * {inner} + j"]
    if "place" in update:
        size1, size2 = (text.stride(n) for n in geometry.size[1:])
        lines.append(f"place = {form.place}((p0 * {size1} + p1) * {size2} + p2)")
    lines.append(update)
    if section(node):
        lines += [
            "taken += 1",
            f"if taken == {text.stride(section(node))}:",
            f"    total, part, taken = total + part, {zero}, i64(0)",
        ]
    text.element(f"total, part, taken = {form.start}, {zero if section(node) else form.start}, i64(0)")
    text.element(*_over_places(text, geometry, form.over_elements, form.backwards, lines))
    text.element("o[e] = total + part" if section(node) else "o[e] = total")
    return [text.launch()]


def _over_places(
    text: ElementText, geometry: WindowGeometry, over_elements: bool, backwards: bool, lines: Sequence[str]
) -> list[str]:
    """These lines for each place `p` of a window whose other side `s` is there."""
    nested = list(lines)
    for axis in (2, 1, 0):
        size, stride, low, dilation = (
            text.stride(n[axis]) for n in (geometry.size, geometry.stride, geometry.low, geometry.dilation)
        )
        length = text.stride((geometry.windows if over_elements else geometry.elements)[axis])
        if over_elements:
            found = [f"u{axis} = t{axis} + {low} - p{axis} * {dilation}", f"s{axis} = u{axis} // {stride}"]
            inside = f"(u{axis} >= 0) & (s{axis} * {stride} == u{axis}) & (s{axis} < {length})"
        else:
            found = [f"s{axis} = t{axis} * {stride} - {low} + p{axis} * {dilation}"]
            inside = f"(s{axis} >= 0) & (s{axis} < {length})"
        nested = [
            f"for at{axis} in range({size}):",
            f"    p{axis} = {f'{size} - 1 - at{axis}' if backwards else f'at{axis}'}",
            *(f"    {line}" for line in found),
            f"    if {inside}:",
            *(f"        {line}" for line in nested),
        ]
    return nested
