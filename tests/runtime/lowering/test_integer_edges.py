"""Every op on integers, and every conversion, on its edge values, at every place of a vector loop and of what is left
over behind it, as arguments and as constants, by both front ends: the numbers of the op's reference.
"""

import numpy as np
import pytest
from front_ends import kernel_of, machine_code
from gradloom.ir import OPS, Builder, spec
from gradloom.runtime.lowering.elementwise import expression, literal

SHORT = {"int32": "i32", "int64": "i64", "uint8": "u8", "float32": "f32", "float64": "f64", "bool": "bool"}
EDGES = {
    "int32": [0, 1, -1, 2, 3, 7, -8, 31, 32, 33, 64, 100, 46341, -(2**31), 1 - 2**31, 2**31 - 1],
    "int64": [0, 1, -1, 2, 3, 7, -8, 32, 63, 64, 65, 2**31, 3037000500, -(2**63), 1 - 2**63, 2**63 - 1],
    "uint8": [0, 1, 2, 3, 7, 8, 9, 16, 31, 64, 127, 128, 129, 200, 254, 255],
}
FLOATS = [
    0.0,
    -0.0,
    0.5,
    -0.5,
    -1.0,
    2.5,
    255.0,
    256.5,
    300.7,
    -129.5,
    2.0**31 - 1,
    2.0**31,
    -(2.0**31),
    -(2.0**31) - 0.5,
]
FLOATS += [-(2.0**31) - 1, 2.0**32 + 7, 2.0**53, 2.0**63 - 1024, 2.0**63, -(2.0**63), -(2.0**63) - 2048, 2.0**64, 3e38]
FLOATS += [float("nan"), float("inf"), -float("inf"), 1e300, -1e300]
UNARY = ("neg", "abs", "sign", "relu", "invert")
BINARY = ("add", "sub", "mul", "floordiv", "mod", "pow", "maximum", "minimum", "and", "or", "xor", "shift_left")
BINARY += ("shift_right", "lt", "ge", "eq")
LONGEST = 61
"""Elements of the longest loop: some vectors of the widest machine, and some behind them."""


def node_of(name, *dtypes, **attrs):
    b = Builder()
    return b.emit_node(OPS[name], *(b.input(spec((), dtype)) for dtype in dtypes), **attrs)


def loops(nodes, sources, *constants):
    """A kernel with a loop for each node, over as many elements as its second word says, and one for each node and
    constant: it stands there for the last input.
    """
    places = [f"array_{SHORT[d]}(word(a, {i}), 0)" for i, d in enumerate(sources)]
    lines, results = [f"x{i} = {place}" for i, place in enumerate(places)], []
    for node in nodes:
        names = [f"x{i}[j]" for i in range(len(node.inputs))]
        last = node.inputs[-1].type.dtype
        for final in (names[-1], *(literal(c, last) for c in constants)):
            dtype = node.output.type.dtype.name
            lines.append(f"o{len(results)} = array_{SHORT[dtype]}(word(a, {len(sources) + len(results)}), 0)")
            lines += [
                "for j in parallel_range(b):",
                f"    o{len(results)}[j] = {expression(node, [*names[:-1], final])}",
            ]
            results.append((node, dtype))
    return kernel_of("\n".join([*lines, "return i64(0)"])), results


def assert_loops_are_the_reference(nodes, columns, *constants):
    dtypes = [column.dtype.name for column in columns]
    kernel, results = loops(nodes, dtypes, *constants)
    both = machine_code(kernel)
    n = len(columns[0])
    for start, length in [(s, LONGEST) for s in range(0, n, 7)] + [
        (s, m) for m in (1, 5, 16, 33) for s in range(0, n, 29)
    ]:
        given = [np.take(column, np.arange(start, start + length), mode="wrap") for column in columns]
        expected = []
        for node in nodes:
            mine = given[: len(node.inputs)]
            last = mine[-1]
            for final in (last, *(np.full_like(last, c) for c in constants)):
                with np.errstate(all="ignore"):
                    expected.append(node.op.reference(*mine[:-1], final, **node.attrs))
        for call in both:
            made = [np.empty(length, dtype) for _, dtype in results]
            addresses = np.array([array.ctypes.data for array in (*given, *made)], np.int64)
            call(addresses.ctypes.data, length)
            for (node, _), actual, wanted in zip(results, made, expected, strict=True):
                np.testing.assert_array_equal(actual, wanted, str(node.op))


@pytest.mark.parametrize("dtype", EDGES)
def test_ops_on_edge_values_have_their_one_meaning_wherever_they_stand(dtype):
    edges = np.array(EDGES[dtype], dtype)
    x, y = (a.ravel() for a in np.broadcast_arrays(edges[:, None], edges[None, :]))
    nodes = [node_of(name, dtype) for name in UNARY] + [node_of(name, dtype, dtype) for name in BINARY]
    assert_loops_are_the_reference(nodes, [x.copy(), y.copy()])


@pytest.mark.parametrize("dtype", EDGES)
def test_ops_on_a_constant_have_the_meaning_of_an_argument(dtype):
    edges = np.array(EDGES[dtype], dtype)
    nodes = [node_of(name, dtype, dtype) for name in ("shift_left", "shift_right", "floordiv", "mod")]
    constants = [c for c in EDGES[dtype] if c in (0, -1, 8, 9, 31, 32, 64, 255, edges.min(), edges.max())]
    assert_loops_are_the_reference(nodes, [edges, edges], *constants)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_become_integers_as_in_numpy_on_x86_whatever_they_are(dtype):
    with np.errstate(all="ignore"):
        floats = np.array(FLOATS, dtype)
    nodes = [node_of("cast", dtype, dtype=np.dtype(d)) for d in ("int32", "int64", "uint8", "bool")]
    assert_loops_are_the_reference(nodes, [floats], float("nan"), float("inf"), -1.0, 300.0, 3e38)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "bool"])
def test_integers_become_all_other_numbers_as_in_numpy(dtype):
    edges = np.array(EDGES.get(dtype, [0, 1]), dtype)
    assert_loops_are_the_reference([node_of("cast", dtype, dtype=np.dtype(d)) for d in SHORT if d != dtype], [edges])
