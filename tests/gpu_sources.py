"""Kernels for GPUs, as a person writes them, and one with every element-wise op: sources and numbers of words."""

from __future__ import annotations

from collections.abc import Sequence

from gradloom.ir import SHORT_NAMES, DType
from gradloom.runtime.lowering.elementwise import expression, loaded, stored
from gradloom.runtime.lowering.launch import Call, KernelAddress, Routine
from gradloom.runtime.lowering.launch_list import LaunchList
from op_cases import OpCase

COPY = """
def kernel(b):
    x = array_f32(word(b, 0), 0)
    y = array_f32(word(b, 1), 0)
    i = block_index() * block_size() + thread_index()
    if i < word(b, 2):
        y[i] = x[i]
"""

SAXPY = """
def kernel(b):
    x = array_f32(word(b, 0), 0)
    y = array_f32(word(b, 1), 0)
    a = real_f32(word(b, 2))
    for i in range(block_index() * block_size() + thread_index(), word(b, 3), grid_size() * block_size()):
        y[i] = a * x[i] + y[i]
"""

SOFTMAX = """
def warp_max(v):
    for k in range(5):
        other = shuffle_xor_f32(v, 16 >> k)
        v = v if v > other else other
    return v


def warp_sum(v):
    for k in range(5):
        v = v + shuffle_xor_f32(v, 16 >> k)
    return v


def kernel(b):
    x = array_f32(word(b, 0), 0)
    y = array_f32(word(b, 1), 0)
    columns = word(b, 3)
    lane = thread_index() % 32
    row = block_index() * (block_size() // 32) + thread_index() // 32
    if row < word(b, 2):
        at = row * columns
        most = f32(-inf)
        for j in range(lane, columns, 32):
            most = x[at + j] if x[at + j] > most else most
        most = warp_max(most)
        total = f32(0.0)
        for j in range(lane, columns, 32):
            total = total + exp_f32(x[at + j] - most)
        total = warp_sum(total)
        for j in range(lane, columns, 32):
            y[at + j] = exp_f32(x[at + j] - most) / total
"""

COLUMN_PARTS = """
def kernel(b):
    x = array_f32(word(b, 0), 0)
    parts = array_f32(word(b, 1), 0)
    rows = word(b, 2)
    columns = word(b, 3)
    step = word(b, 4)
    across = word(b, 5)
    tile = shared_f32(264)
    left = thread_index() % 32
    top = thread_index() // 32
    column = block_index() % across * 32 + left
    first = block_index() // across * step
    total = f32(0.0)
    if column < columns:
        for r in range(first + top, min(first + step, rows), 8):
            total = total + x[r * columns + column]
    tile[top * 33 + left] = total
    barrier()
    if top == 0 and column < columns:
        total = tile[left]
        for k in range(1, 8):
            total = total + tile[k * 33 + left]
        parts[block_index() // across * columns + column] = total
"""

COLUMN_SUMS = """
def kernel(b):
    parts = array_f32(word(b, 0), 0)
    y = array_f32(word(b, 1), 0)
    columns = word(b, 3)
    column = block_index() * block_size() + thread_index()
    if column < columns:
        total = f32(0.0)
        for k in range(word(b, 2)):
            total = total + parts[k * columns + column]
        y[column] = total
"""

CHECKED = """
def kernel(b):
    at = array_i64(word(b, 0), 0)
    i = block_index() * block_size() + thread_index()
    if i < word(b, 1):
        if at[i] < 0 or at[i] >= word(b, 2):
            trap(3)
            return i64(4)
    return i64(0)
"""

SWAPS = """
def kernel(b):
    f = shared_f32(32)
    d = shared_f64(32)
    i = shared_i32(32)
    w = shared_i64(32)
    t = thread_index()
    f[t], d[t], i[t], w[t] = f32(t), f64(t), i32(t), t
    barrier()
    o = array_f64(word(b, 0), 0)
    o[t] = f64(shuffle_xor_f32(f[t], 1)) + shuffle_xor_f64(d[t], 2)
    o[t] = o[t] + f64(shuffle_xor_i32(i[t], 4)) + f64(shuffle_xor_i64(w[t], 8))
"""

SOURCES = {
    "copy": (COPY, 3),
    "saxpy": (SAXPY, 4),
    "softmax": (SOFTMAX, 4),
    "column_parts": (COLUMN_PARTS, 6),
    "column_sums": (COLUMN_SUMS, 4),
    "checked": (CHECKED, 3),
    "swaps": (SWAPS, 1),
}


def elementwise_source(cases: Sequence[OpCase], dtype: DType) -> tuple[str, int]:
    """A kernel whose thread i computes element i of every op with a result of this dtype. Checks have no expression."""
    head: list[str] = []
    lines: list[str] = []

    def array(of: DType) -> str:
        head.append(f"    a{len(head)} = array_{SHORT_NAMES[of]}(word(b, {len(head)}), 0)")
        return f"a{len(head) - 1}[i]"

    for case in cases:
        (node,) = case.graph().nodes
        if node.output.type.dtype == dtype and not node.op.is_check:
            names = [f"x{len(lines)}_{k}" for k in range(len(node.inputs))]
            for name, x in zip(names, node.inputs):
                lines.append(f"    {name} = {loaded(array(x.type.dtype), x.type.dtype)}")
            lines.append(f"    {array(dtype)} = {stored(expression(node, names), dtype)}")
    text = ["def kernel(b):", "    i = block_index() * block_size() + thread_index()", *head, *lines, ""]
    return "\n".join(text), len(head)


def free_calls(launches: LaunchList) -> list[Call]:
    """The calls of all launches that call nothing themselves, those in loops left out."""
    units = [unit for phase in launches.phases for unit in phase if isinstance(unit, list)]
    calls = [call for unit in units for stage in unit for launch in stage for call in launch.calls]
    return [call for call in calls if not any(isinstance(arg, Routine | KernelAddress) for arg in call.args)]
