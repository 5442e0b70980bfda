"""Register tiles: machine code against the same in Python, on the same memory; and copies that turn rows to columns."""

import ctypes

import numpy as np
import pytest
from compiled import run_compiled
from gradloom.ir import OPS, Builder, spec
from gradloom.passes.graph.views import View
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.runtime.codegen.column_product import column_product
from gradloom.runtime.codegen.group_product import group_product
from gradloom.runtime.codegen.intrinsics import array_f32, array_f64, word
from gradloom.runtime.codegen.kernel_cache import compile_kernel
from gradloom.runtime.codegen.line_gradient import line_gradient
from gradloom.runtime.codegen.tile_dots import tile_dots
from gradloom.runtime.codegen.tile_product import tile_product
from gradloom.runtime.codegen.tile_transpose import tile_transpose
from gradloom.runtime.codegen.weight_squares import (
    pack_square,
    plain_pack_square,
    plain_unpack_square,
    unpack_square,
)
from gradloom.runtime.lowering.transposition import transposed
from unjitted import run_unjitted

RNG = np.random.default_rng(0)


def compiled(function, words):
    """The function as machine code."""
    source = f"def kernel(b):\n    f({', '.join(f'word(b, {i})' for i in range(words))})\n    return 0\n"
    kernel = compile_kernel(source, "kernel", {"f": function, "word": word}, salt=function.__name__)
    native = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(kernel.address)

    def call(*arguments):
        code, exception = ctypes.c_int64(), ctypes.c_void_p()
        block = (ctypes.c_int64 * words)(*arguments)
        native(ctypes.addressof(code), ctypes.addressof(exception), ctypes.addressof(block))

    return call


@pytest.mark.parametrize(
    ("dtype", "rows", "vectors", "tail", "pairwise", "sectioned", "run"),
    [
        ("f32", 1, 1, False, False, False, 1),
        ("f32", 6, 4, False, False, False, 1),
        ("f32", 14, 2, True, False, False, 1),
        ("f32", 9, 3, True, False, False, 1),
        ("f64", 8, 1, True, False, False, 1),
        ("f64", 5, 4, False, False, False, 1),
        ("f32", 14, 2, True, True, False, 1),
        ("f64", 3, 1, False, True, False, 1),
        ("f32", 6, 4, False, False, True, 1),
        ("f64", 14, 2, True, False, True, 1),
        ("f32", 12, 2, True, False, False, 3),
        ("f64", 8, 1, False, False, True, 4),
        ("f32", 14, 1, False, False, True, 2),
    ],
)
@pytest.mark.parametrize("accumulate", [0, 1])
@pytest.mark.parametrize("vector_bytes", [64, 16])
def test_a_tile_of_sums_is_what_python_makes_of_it(
    dtype, rows, vectors, tail, pairwise, sectioned, run, accumulate, vector_bytes
):
    size = 4 if dtype == "f32" else 8
    kind = f"f{size}"
    lanes = vector_bytes // size
    columns = lanes * vectors - (min(3, lanes - 1) if tail else 0)
    a, b = RNG.standard_normal(4000).astype(kind), RNG.standard_normal(4000).astype(kind)
    c = RNG.standard_normal((rows, lanes * vectors + 5)).astype(kind)
    tile = tile_product(dtype, lanes, rows, vectors, tail, pairwise, sectioned, run=run)
    results = []
    for call in (tile, compiled(tile, 16)):
        target = c.copy()
        call(
            *(a.ctypes.data, 7 * size, b.ctypes.data, target.ctypes.data, target.strides[0]),
            *(2, 500 * size, 300 * size, 3, 100 * size, 70 * size, 2, size, 64 * size),
            *(columns, accumulate),
        )
        results.append(target)
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-5 if size == 4 else 1e-13)
    np.testing.assert_array_equal(results[1][:, columns:], c[:, columns:])
    assert (results[1][:, :columns] != c[:, :columns]).any()


@pytest.mark.parametrize("accumulate", [0, 1])
@pytest.mark.parametrize(
    ("dtype", "vector_bytes", "rows", "vectors", "tail", "pairwise", "line"),
    [
        ("f32", 64, 7, 3, True, False, (1, 1, ((1, 7), (0, 7), (0, 6)))),
        ("f32", 64, 14, 1, False, False, (2, 3, ((2, 14), (0, 0), (0, 12)))),
        ("f64", 32, 3, 2, True, False, (1, 2, ((2, 3), (0, 3), (0, 1)))),
        ("f32", 64, 10, 2, True, True, (1, 1, ((1, 10), (0, 10), (0, 9)))),
        ("f64", 64, 5, 1, False, True, (2, 1, ((1, 5), (0, 5), (0, 0)))),
        ("f32", 16, 4, 2, True, True, (1, 2, ((0, 4), (0, 3), (0, 1)))),
    ],
)
def test_a_tile_of_a_line_leaves_out_what_its_rows_do_not_meet(
    dtype, vector_bytes, rows, vectors, tail, pairwise, line, accumulate
):
    size = int(dtype[1:]) // 8
    lanes = vector_bytes // size
    columns = lanes * vectors - (min(3, lanes - 1) if tail else 0)
    stride, dilation, met = line
    a = np.full((2, rows * stride + 3 * dilation, 70), np.nan, f"f{size}")
    for k, (low, high) in enumerate(met):
        for r in range(low, high):
            a[:, r * stride + k * dilation] = RNG.standard_normal((2, 70))
    b = RNG.standard_normal((2, 3, 2, lanes * vectors)).astype(a.dtype)
    c = RNG.standard_normal((rows, lanes * vectors + 5)).astype(a.dtype)
    pixel = a.strides[1]
    sums = [(2, a.strides[0], b.strides[0]), (3, dilation * pixel, b.strides[1])]
    sums.insert(*((0, (1, 0, 0)) if pairwise else (2, (2, size, b.strides[2]))))
    tile = tile_product(dtype, lanes, rows, vectors, tail, pairwise, line=line)
    results = []
    for call in (tile, compiled(tile, 16)):
        target = c.copy()
        places = (a.ctypes.data, stride * pixel, b.ctypes.data, target.ctypes.data, target.strides[0])
        call(*places, *(number for one in sums for number in one), columns, accumulate)
        results.append(target)
    wanted = c[:, : lanes * vectors] * accumulate
    for k, (low, high) in enumerate(met):
        for r in range(low, high):
            read = a[:, r * stride + k * dilation]
            if pairwise:
                wanted[r] += (read[:, : lanes * vectors] * b[:, k, 0]).sum(0)
            else:
                wanted[r] += np.einsum("di,div->v", read[:, :2], b[:, k])
    for result in results:
        np.testing.assert_allclose(result[:, :columns], wanted[:, :columns], rtol=0, atol=1e-5 if size == 4 else 1e-13)
        np.testing.assert_array_equal(result[:, columns:], c[:, columns:])


@pytest.mark.parametrize(
    ("dtype", "vector_bytes", "vectors", "tail", "sectioned", "line"),
    [
        ("f32", 64, 2, True, False, (1, 1, ((1, 7), (0, 7), (0, 6)))),
        ("f64", 32, 1, False, True, (2, 1, ((1, 4), (0, 0), (0, 3)))),
        ("f32", 16, 2, True, True, (1, 2, ((2, 5), (0, 5)))),
    ],
)
def test_a_tile_of_a_gradient_adds_what_its_columns_meet(dtype, vector_bytes, vectors, tail, sectioned, line):
    size = int(dtype[1:]) // 8
    lanes = vector_bytes // size
    columns = lanes * vectors - (min(3, lanes - 1) if tail else 0)
    stride, dilation, met = line
    x = np.full((3, 7 * stride + 3 * dilation, lanes * vectors), np.nan, f"f{size}")
    g = RNG.standard_normal((3, 7, lanes * vectors)).astype(x.dtype)
    c = RNG.standard_normal((len(met), lanes * vectors + 5)).astype(x.dtype)
    meetings = [(k, r, r * stride + k * dilation) for k, outputs in enumerate(met) for r in range(*outputs)]
    for _, _, column in meetings:
        x[:, column] = RNG.standard_normal((3, lanes * vectors))
    wanted = c.copy()
    for k, r, column in meetings:
        wanted[k, :columns] += (x[:, column] * g[:, r])[:, :columns].sum(0)
    tile = line_gradient(dtype, lanes, vectors, tail, sectioned, line)
    for call in (tile, compiled(tile, 10)):
        target = c.copy()
        call(
            *(x.ctypes.data, *x.strides[:2], g.ctypes.data, *g.strides[:2]),
            *(target.ctypes.data, target.strides[0], 3, columns),
        )
        np.testing.assert_allclose(target, wanted, rtol=0, atol=1e-5 if size == 4 else 1e-13)
        np.testing.assert_array_equal(target[:, columns:], c[:, columns:])


@pytest.mark.parametrize("vector_bytes", [64, 32, 16])
@pytest.mark.parametrize(
    ("dtype", "rows", "columns", "terms"),
    [("f32", 1, 8, 50), ("f32", 4, 5, 33), ("f64", 3, 6, 7), ("f64", 2, 1, 16), ("f32", 1, 1, 3)],
)
def test_a_tile_of_dot_products_reads_and_writes_nothing_beside_it(dtype, rows, columns, terms, vector_bytes):
    kind = dtype.replace("f", "float")
    a = RNG.integers(-9, 9, (rows, terms + 3)).astype(kind)
    b = RNG.integers(-9, 9, (columns, terms + 5)).astype(kind)
    a[:, terms:], b[:, terms:] = np.nan, np.nan
    tile = tile_dots(dtype, vector_bytes // a.itemsize, rows, columns)
    for call in (tile, compiled(tile, 8)):
        c = np.full((rows, columns + 1), -1, kind)
        for more in (0, 1):
            places = (a.ctypes.data, a.strides[0], b.ctypes.data, b.strides[0], c.ctypes.data, c.strides[0])
            call(*places, terms, more)
            np.testing.assert_array_equal(c[:, :columns], (1 + more) * (a[:, :terms] @ b[:, :terms].T))
        assert (c[:, columns] == -1).all()


@pytest.mark.parametrize("vector_bytes", [64, 32, 16])
@pytest.mark.parametrize(
    ("dtype", "rows", "columns", "terms"), [("f32", 8, 3, 50), ("f32", 4, 2, 33), ("f64", 1, 3, 7), ("f64", 5, 2, 16)]
)
def test_columns_of_dot_products_may_be_interleaved(dtype, rows, columns, terms, vector_bytes):
    kind = dtype.replace("f", "float")
    a, b = RNG.integers(-9, 9, (rows, terms + 3)).astype(kind), RNG.integers(-9, 9, (terms + 2, columns)).astype(kind)
    a[:, terms:], b[terms:] = np.nan, np.nan
    tile = tile_dots(dtype, vector_bytes // a.itemsize, rows, columns, True)
    for call in (tile, compiled(tile, 8)):
        c = np.full((rows, columns + 1), -1, kind)
        for more in (0, 1):
            call(a.ctypes.data, a.strides[0], b.ctypes.data, 0, c.ctypes.data, c.strides[0], terms, more)
            np.testing.assert_array_equal(c[:, :columns], (1 + more) * (a[:, :terms] @ b[:terms]))
        assert (c[:, columns] == -1).all()


@pytest.mark.parametrize("vector_bytes", [64, 32, 16])
@pytest.mark.parametrize("dense_rows", [False, True], ids=["columns", "rows"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("dtype", "columns", "terms"), [("f32", 10, 50), ("f32", 1, 33), ("f64", 3, 7), ("f64", 2, 16)]
)
def test_a_column_tile_reads_and_writes_nothing_beside_it(
    dtype, columns, terms, whole, turned, dense_rows, vector_bytes
):
    kind, lanes = dtype.replace("f", "float"), 8 * vector_bytes // int(dtype[1:])
    columns, vectors = min(columns, lanes), 1 + turned
    rows = lanes * vectors - (0 if whole else 1)
    a, b = (RNG.integers(-9, 9, (n, terms)).astype(kind) for n in (rows, columns))
    x = np.full((terms, rows + 3) if turned else (rows, terms + 3), np.nan, kind)
    y = np.full((terms, columns + 2) if dense_rows else (columns, terms + 2), np.nan, kind)
    if turned:
        x[:, :rows] = a.T
    else:
        x[:, :terms] = a
    if dense_rows:
        y[:, :columns] = b.T
    else:
        y[:, :terms] = b
    steps = y.strides if dense_rows else y.strides[::-1]
    tile = column_product(dtype, lanes, vectors, columns, whole, turned, dense_rows)
    for call in (tile, compiled(tile, 10)):
        c = np.full((rows + 1, columns + 1), -1, kind)
        for more in (0, 1):
            places = (x.ctypes.data, x.strides[0], y.ctypes.data, *steps, c.ctypes.data, c.strides[0])
            call(*places, terms, rows, more)
            np.testing.assert_array_equal(c[:rows, :columns], (1 + more) * (a @ b.T))
        assert (c[:, columns] == -1).all()
        assert (c[rows] == -1).all()


@pytest.mark.parametrize("fetched", [(48, 0), (960, 160)], ids=["terms", "rows"])
@pytest.mark.parametrize("ahead", ["left", "panel"])
def test_what_is_fetched_ahead_changes_no_sum(ahead, fetched):
    a, b = RNG.standard_normal((6, 40)).astype("f4"), RNG.standard_normal((40, 32)).astype("f4")
    c = np.zeros((6, 32), "f4")
    tile = tile_product("f32", 16, 6, 2, sectioned=True, ahead=ahead)
    numbers = [1, 0, 0, 1, 0, 0, 40, a.strides[1], b.strides[0], 32, 0, *fetched]
    numbers += [b.ctypes.data, b.strides[0]] * (ahead == "panel")
    compiled(tile, 5 + len(numbers))(a.ctypes.data, a.strides[0], b.ctypes.data, c.ctypes.data, c.strides[0], *numbers)
    np.testing.assert_allclose(c, a @ b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("accumulate", [0, 1])
@pytest.mark.parametrize(
    ("dtype", "lanes", "rows", "group", "columns", "apart", "sectioned"),
    [
        ("f32", 16, 7, (4, 4, 4), 16, False, False),
        ("f32", 16, 3, (5, 3, 3), 9, True, True),
        ("f32", 16, 5, (8, 3, 2), 16, False, False),
        ("f64", 8, 2, (8, 2, 1), 5, True, False),
        ("f64", 8, 14, (2, 1, 3), 6, False, True),
        ("f32", 4, 3, (2, 4, 2), 2, True, False),
        ("f32", 8, 1, (8, 4, 1), 3, False, False),
    ],
)
def test_a_tile_of_groups_is_what_python_makes_of_it(dtype, lanes, rows, group, columns, apart, sectioned, accumulate):
    size = 4 if dtype == "f32" else 8
    kind = f"f{size}"
    a, b = RNG.standard_normal(4000).astype(kind), RNG.standard_normal(4000).astype(kind)
    c = RNG.standard_normal((rows * group[1] if apart else rows, lanes + 5)).astype(kind)
    tile = group_product(dtype, lanes, rows, group, columns < group[0] * group[2], apart, sectioned)
    results = []
    for call in (tile, compiled(tile, 16)):
        target = c.copy()
        call(
            *(a.ctypes.data, 7 * size, b.ctypes.data, target.ctypes.data, target.strides[0]),
            *(2, 500 * size, 300 * size, 3, 100 * size, 70 * size, 2, 40 * size, 64 * size),
            *(columns, accumulate),
        )
        results.append(target)
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-5 if size == 4 else 1e-13)
    np.testing.assert_array_equal(results[1][:, columns:], c[:, columns:])
    assert (results[1][:, :columns] != c[:, :columns]).all()


@pytest.mark.parametrize(("dtype", "rows", "columns"), [("f32", 16, 16), ("f32", 5, 16), ("f64", 8, 3), ("f64", 8, 8)])
def test_squares_of_weights_are_packed_and_unpacked_as_python_does(dtype, rows, columns):
    size = int(dtype[1:]) // 8
    lanes, whole = 64 // size, rows == columns == 64 // size
    x = RNG.standard_normal((lanes, lanes + 3)).astype(f"f{size}")
    table = np.array([7, 0, 3], np.int64) * 64  # three places, a run of them each ten rows
    packing, unpacking = pack_square(dtype, lanes, whole), unpack_square(dtype, lanes, whole)
    plain = (
        plain_pack_square({"f32": array_f32, "f64": array_f64}[dtype], word, size, lanes),
        plain_unpack_square({"f32": array_f32, "f64": array_f64}[dtype], word),
    )
    results = []
    for pack, unpack in (plain, (compiled(packing, 9), compiled(unpacking, 12))):
        packed, made = np.zeros((2, 70, lanes), x.dtype), np.ones((lanes, lanes + 1), x.dtype)
        of_table = (table.ctypes.data, 3, 1)
        for part in packed:
            pack(x.ctypes.data, x.strides[0], rows, columns, *of_table, part.ctypes.data, 640)
        unpack(
            packed.ctypes.data,
            packed.strides[0],
            2,
            *of_table,
            640,
            made.ctypes.data,
            made.strides[0],
            rows,
            columns,
            1,
        )
        np.testing.assert_array_equal(made[:rows, :columns], 1 + (x + x)[:rows, :columns])
        assert (made[rows:] == 1).all()
        assert (made[:, columns:] == 1).all()
        results.append(packed)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(("size", "rows", "columns"), [(4, 16, 16), (8, 8, 8), (4, 16, 3), (4, 1, 16), (8, 5, 7)])
def test_a_square_is_transposed_and_nothing_beside_it(size, rows, columns):
    side = 64 // size
    x = RNG.integers(0, 1000, (side, side + 3)).astype(f"i{size}")
    function = tile_transpose(size, side, (rows, columns) == (side, side))
    for call in (function, compiled(function, 6)):
        y = np.full((side, side + 1), -1, f"i{size}")
        call(x.ctypes.data, x.strides[0], y.ctypes.data, y.strides[0], rows, columns)
        np.testing.assert_array_equal(y[:columns, :rows], x[:rows, :columns].T)
        assert (y[columns:] == -1).all()
        assert (y[:, rows:] == -1).all()


@pytest.mark.parametrize(
    ("shape", "perm", "squares"),
    [
        ((2, 33, 7, 9), (0, 2, 3, 1), True),
        ((4, 9, 5, 17), (0, 3, 1, 2), True),
        ((40, 37), (1, 0), True),
        ((3, 5, 20, 10), (1, 0, 3, 2), True),
        ((2, 3, 4, 5), (0, 2, 3, 1), False),
        ((1, 1, 16, 16), (2, 3, 0, 1), False),
        ((9, 8, 7), (2, 1, 0), False),
        ((0, 20, 30), (0, 2, 1), True),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_transposed_copies_of_every_kind(shape, perm, squares, dtype):
    b = Builder()
    x = b.input(spec(shape, dtype))
    graph = b.graph([OPS["transpose"](b, x, perm=perm)])
    array = RNG.integers(0, 200, shape).astype(dtype)
    made = plan(run_passes(graph), 2)
    (unit,) = [n for phase in made.phases for n in phase]
    view = made.views[unit.inputs[0]]
    assert isinstance(view, View)
    if array.size:
        assert (transposed(view, made.target) is not None) == (squares and dtype != "uint8")
    for (actual,) in (run_compiled(graph, array, threads=2), run_unjitted(made, array)):
        np.testing.assert_array_equal(actual, array.transpose(perm))
