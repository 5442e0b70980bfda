"""Compiled graphs at sizes of several tiles, threads and chunks, and what a run does to the memory it is given."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from compiled import run_compiled, run_executable
from gradloom.ir import OPS, Array, Builder, Graph, Origin, Value, interpret, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.runtime.cpu.executable import Executable

F32, F64, I64 = "float32", "float64", "int64"


def build(fn: Callable[..., Value | Sequence[Value]], *types: Any, aliases: dict[int, int] | None = None) -> Graph:
    """The graph of `fn(builder, *inputs)`, verified."""
    b = Builder()
    result = fn(b, *(b.input(t, f"x{i}") for i, t in enumerate(types)))
    graph = b.graph([result] if isinstance(result, Value) else result, aliases)
    graph.verify()
    return graph


def arrays_for(graph: Graph, seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    arrays: list[Array] = []
    for value in graph.inputs:
        shape, dtype = value.type.shape, value.type.dtype
        arrays.append((rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 4, shape)).astype(dtype))
    return arrays


def assert_close(actual: Array, expected: Array, relative: float | None = None) -> None:
    """Equal for integers; else within `relative` of the largest value, by default the rounding of a long sum."""
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    if actual.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected)
        return
    relative = relative or (2e-5 if actual.dtype.itemsize == 4 else 1e-12)
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=relative * scale)


def check(graph: Graph, arrays: list[Array] | None = None, threads: Sequence[int] = (1, 3)) -> list[Array]:
    """Run with each number of threads: close to the interpreter, and all of the same bits. Returns the outputs."""
    arrays = arrays_for(graph) if arrays is None else arrays
    expected = interpret(graph, *arrays)
    first: list[Array] = []
    for n in threads:
        outputs = run_compiled(graph, *arrays, threads=n)
        for actual, wanted in zip(outputs, expected, strict=True):
            assert_close(actual, wanted)
        first = first or outputs
        for actual, before in zip(outputs, first):
            assert actual.tobytes() == before.tobytes()
    return first


def bcast(b: Builder, x: Value, shape: tuple[int, ...], axes: tuple[int, ...]) -> Value:
    return OPS["broadcast"](b, x, shape=shape, axes=axes)


# ---- reductions over several tiles


@pytest.mark.parametrize("op", ["reduce_sum", "reduce_prod", "reduce_max", "reduce_min"])
@pytest.mark.parametrize("dtype", [F32, I64])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((5000, 37), (0,)),
        ((5000, 37), (1,)),
        ((5000, 37), (0, 1)),
        ((37, 5000), (0,)),
        ((37, 5000), (1,)),
        ((7, 300, 65), (1,)),
        ((7, 300, 65), (0, 2)),
        ((7, 300, 65), (0, 1)),
        ((7, 300, 65), (1, 2)),
        ((40, 3, 5, 300), (1, 3)),
        ((1_000_003,), (0,)),
        ((1, 70_000, 1), (1,)),
    ],
    ids=str,
)
def test_reduction_of_many_tiles(op: str, dtype: str, shape: tuple[int, ...], axes: tuple[int, ...]):
    graph = build(lambda b, x: OPS[op](b, x, axes=axes), spec(shape, dtype))
    arrays = arrays_for(graph)
    if op == "reduce_prod":
        # The sign flips at random and the rest is exact, so that rounding does not drown what is lost or taken twice.
        arrays = [np.where(a > 0, 1, -1).astype(dtype) for a in arrays]
        for array in arrays:
            array.flat[:: max(array.size // 20, 1)] = 2
    check(graph, arrays)


@pytest.mark.parametrize("op", ["argmax", "argmin"])
@pytest.mark.parametrize(("shape", "axis"), [((5000, 37), 0), ((5000, 37), 1), ((100_000,), 0), ((7, 300, 65), 1)])
def test_position_of_an_extreme(op: str, shape: tuple[int, ...], axis: int):
    check(build(lambda b, x: OPS[op](b, x, axis=axis), spec(shape, F32)))


def test_position_of_an_extreme_among_equals_and_nans_is_the_first():
    graph = build(lambda b, x: [OPS["argmax"](b, x, axis=1), OPS["argmin"](b, x, axis=1)], spec((4, 100), F32))
    x = np.zeros((4, 100), F32)
    x[1, [50, 70]] = np.nan
    x[2, [30, 99]] = 5
    x[3, 0] = np.nan
    check(graph, [x])


@pytest.mark.parametrize("op", ["reduce_max", "reduce_min", "reduce_sum"])
@pytest.mark.parametrize("place", [0, 63, 64, 999, 4321, 4999])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_a_nan_anywhere_reaches_the_reduction(op: str, place: int, axes: tuple[int, ...]):
    graph = build(lambda b, x: OPS[op](b, x, axes=axes), spec((5000, 13), F32))
    x = arrays_for(graph)[0]
    x[place, 5] = np.nan
    (expected,), actual = interpret(graph, x), run_compiled(graph, x)[0]
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))


def test_reduction_of_bools_over_many_tiles():
    graph = build(lambda b, x: [OPS[f"reduce_{o}"](b, x, axes=a) for o in ("max", "min") for a in ((0,), (1,), (0, 1))],
                  spec((9000, 17), "bool"))  # fmt: skip
    for p in (0.0001, 0.9999):
        check(graph, [np.random.default_rng(1).random((9000, 17)) < p])


# ---- reductions fused with what makes and what reads their values


def test_softmax_over_rows():
    def fn(b: Builder, x: Value) -> list[Value]:
        shape = x.type.shape
        z = ew.exp(b, ew.sub(b, x, bcast(b, OPS["reduce_max"](b, x, axes=(1,)), shape, (0,))))
        total = OPS["reduce_sum"](b, z, axes=(1,))
        return [ew.div(b, z, bcast(b, total, shape, (0,))), ew.log(b, total)]

    for shape in ((3000, 41), (5, 3000), (1, 50_000), (50_000, 1), (3, 7)):
        check(build(fn, spec(shape, F32)))


def test_crossing_reductions_fused_with_their_producers():
    def fn(b: Builder, x: Value, bias: Value) -> list[Value]:
        y = ew.tanh(b, ew.add(b, x, bcast(b, bias, x.type.shape, (1,))))
        squares = ew.mul(b, y, y)
        return [y, OPS["reduce_sum"](b, squares, axes=(0,)), OPS["reduce_sum"](b, y, axes=(0, 1)),
                OPS["reduce_max"](b, squares, axes=(1,))]  # fmt: skip

    graph = build(fn, spec((6000, 29), F32), spec((29,), F32))
    assert sum(n.op.name == "region" for n in run_passes(graph).nodes) <= 2
    check(graph)


def test_layer_norm_backward_with_row_and_column_sums():
    def fn(b: Builder, x: Value, g: Value, w: Value) -> list[Value]:
        shape = x.type.shape
        n = shape[1]

        def mean(v: Value) -> Value:
            total = OPS["reduce_sum"](b, v, axes=(1,))
            return bcast(b, ew.mul(b, total, b.full_like(total, 1 / n)), shape, (0,))

        centred = ew.sub(b, x, mean(x))
        variance = mean(ew.mul(b, centred, centred))
        normal = ew.div(b, centred, ew.sqrt(b, ew.add(b, variance, b.full_like(variance, 1e-5))))
        scaled = ew.mul(b, g, bcast(b, w, shape, (1,)))
        inner = ew.sub(b, ew.sub(b, scaled, mean(scaled)), ew.mul(b, normal, mean(ew.mul(b, scaled, normal))))
        return [inner, OPS["reduce_sum"](b, ew.mul(b, g, normal), axes=(0,)), OPS["reduce_sum"](b, g, axes=(0,))]

    check(build(fn, spec((2500, 48), F64), spec((2500, 48), F64), spec((48,), F64)))


def test_middle_reduction_fused_with_its_producer():
    def fn(b: Builder, x: Value, y: Value) -> list[Value]:
        z = ew.mul(b, x, y)
        return [OPS["reduce_sum"](b, z, axes=(1,)), OPS["reduce_max"](b, ew.neg(b, z), axes=(1,)), z]

    check(build(fn, *[spec((11, 130, 40), F32)] * 2))


# ---- long element-wise domains


@pytest.mark.parametrize("n", [1, 2047, 2048, 2049, 100_001])
def test_chunks_with_a_short_last_one(n: int):
    def fn(b: Builder, x: Value, y: Value) -> list[Value]:
        return [ew.sub(b, ew.exp(b, x), y), OPS["reduce_sum"](b, ew.mul(b, x, y), axes=(0,))]

    check(build(fn, spec((n,), F32), spec((n,), F32)))


@pytest.mark.parametrize("shape", [(100_001,), (3, 40_000), (5, 7, 1000), (2049,), (1, 9)], ids=str)
@pytest.mark.parametrize("dtype", ["int32", I64])
def test_random_bits_are_those_of_the_interpreter(shape: tuple[int, ...], dtype: str):
    def fn(b: Builder, key: Value) -> Value:
        return OPS["random_bits"](b, key, shape=shape, dtype=np.dtype(dtype), stream=2**63 + 5)

    check(build(fn, spec((), I64)), [np.array(-12345)])


@pytest.mark.parametrize("shape", [(3, 4, 2048), (3, 4, 33), (5, 7, 1000), (2, 3, 4, 50)], ids=str)
@pytest.mark.parametrize("along_rows", [False, True])
def test_a_slice_of_random_bits_has_the_bits_of_the_whole(shape: tuple[int, ...], along_rows: bool):
    attrs = {"dtype": np.dtype("int32"), "stream": 7}
    rows, columns = shape[-2:]
    first, run, apart = 2 * rows, rows * columns, 6 * rows * columns

    def sliced(b: Builder, key: Value) -> list[Value]:
        start = b.full(first * columns, spec((), I64))
        bits = OPS["random_bits"](b, key, start, shape=shape, run=run, apart=apart, **attrs)
        sums = OPS["reduce_sum"](b, ew.cast(b, bits, dtype=np.dtype(F32)), axes=(len(shape) - 1,))
        return [bits, sums] if along_rows else [bits]

    key = np.array(99)
    graph = build(sliced, spec((), I64))
    check(graph, [key])
    whole = build(lambda b, k: OPS["random_bits"](b, k, shape=(*shape[:-2], 6 * rows, columns), **attrs), spec((), I64))
    (expected,) = interpret(whole, key)
    np.testing.assert_array_equal(interpret(graph, key)[0], expected[..., first : first + rows, :])


def test_random_bits_of_a_constant_key_for_every_row():
    def fn(b: Builder, x: Value) -> Value:
        bits = OPS["random_bits"](b, b.full(7, spec((), I64)), shape=(500,), dtype=np.dtype("int32"), stream=1)
        return ew.add(b, x, bcast(b, ew.cast(b, bits, dtype=np.dtype(F32)), (500, 40), (0,)))

    check(build(fn, spec((500, 40), F32)))


def test_random_bits_fused_with_a_mask_over_rows_and_columns():
    def fn(b: Builder, x: Value, key: Value) -> list[Value]:
        bits = OPS["random_bits"](b, key, shape=x.type.shape, dtype=np.dtype("int32"), stream=7)
        kept = ew.select(b, ew.gt(b, bits, b.full_like(bits, 0)), x, b.full_like(x, 0))
        return [kept, OPS["reduce_sum"](b, kept, axes=(1,)), OPS["reduce_sum"](b, kept, axes=(0,))]

    check(build(fn, spec((4000, 33), F32), spec((), I64)))


# ---- layouts

LAYOUTS: dict[str, Callable[[Builder, Value], Value]] = {
    "transposed": lambda b, x: OPS["transpose"](b, x, perm=(1, 0)),
    "reversed": lambda b, x: OPS["reverse"](b, x, axes=(0, 1)),
    "strided": lambda b, x: OPS["slice"](b, x, start=(1, 2), stop=x.type.shape, step=(2, 3)),
    "broadcast before": lambda b, x: bcast(b, x, (3, *x.type.shape), (1, 2)),
    "broadcast between": lambda b, x: bcast(b, x, (x.type.shape[0], 3, x.type.shape[1]), (0, 2)),
    "broadcast after": lambda b, x: bcast(b, x, (*x.type.shape, 3), (0, 1)),
    "reshaped transpose": lambda b, x: OPS["reshape"](b, OPS["transpose"](b, x, perm=(1, 0)), shape=(x.type.size,)),
    "reversed slice of a transpose": lambda b, x: OPS["reverse"](
        b, OPS["slice"](b, OPS["transpose"](b, x, perm=(1, 0)), start=(3, 0), stop=(50, 200), step=(4, 2)), axes=(0,)
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_views_as_inputs_of_element_wise_loops_and_reductions(layout: str):
    def fn(b: Builder, x: Value) -> list[Value]:
        view = LAYOUTS[layout](b, x)
        n = view.type.ndim
        outputs = [ew.neg(b, view), OPS["cumsum"](b, view, axis=n - 1, reverse=False)]
        for axes in {(n - 1,), (0,), tuple(range(n)), (max(n - 2, 0),)}:
            outputs.append(OPS["reduce_sum"](b, view, axes=axes))
        return outputs

    check(build(fn, spec((200, 90), F32)))


@pytest.mark.parametrize("left", LAYOUTS)
def test_a_view_meets_an_array(left: str):
    def fn(b: Builder, x: Value, y: Value) -> list[Value]:
        view = LAYOUTS[left](b, x)
        other = OPS["slice"](b, y, start=(0,), stop=(view.type.size,), step=(1,))
        other = OPS["reshape"](b, other, shape=view.type.shape)
        product = ew.mul(b, view, other)
        return [
            product,
            OPS["reduce_sum"](b, product, axes=(view.type.ndim - 1,)),
            OPS["reduce_sum"](b, product, axes=(0,)),
        ]

    check(build(fn, spec((200, 90), F32), spec((60_000,), F32)))


@pytest.mark.parametrize(
    ("shape", "perm"),
    [((300, 70), (1, 0)), ((20, 30, 40), (2, 0, 1)), ((20, 30, 40), (1, 0, 2)), ((5, 6, 7, 80), (3, 1, 2, 0))],
)
def test_transposed_copy(shape: tuple[int, ...], perm: tuple[int, ...]):
    check(build(lambda b, x: OPS["transpose"](b, x, perm=perm), spec(shape, F32)))


@pytest.mark.parametrize(("ta", "tb"), [*itertools.product((False, True), repeat=2)])
@pytest.mark.parametrize("dtype", [F32, "int32"])
def test_matrix_products_of_all_layouts_in_several_tiles(ta: bool, tb: bool, dtype: str):
    def fn(b: Builder, x: Value, y: Value) -> Value:
        return OPS["dot"](b, x, y, contract=((0 if ta else 1,), (1 if tb else 0,)), batch=((), ()))

    m, k, n = (300, 130, 270) if dtype == F32 else (30, 13, 27)
    check(build(fn, spec((k, m) if ta else (m, k), dtype), spec((n, k) if tb else (k, n), dtype)))


@pytest.mark.parametrize(("ta", "tb"), [*itertools.product((False, True), repeat=2)])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_products_of_few_rows_with_a_large_matrix(m: int, ta: bool, tb: bool):
    def fn(b: Builder, x: Value, y: Value) -> Value:
        return OPS["dot"](b, x, y, contract=((0 if ta else 1,), (1 if tb else 0,)), batch=((), ()))

    k, n = 500, 1057
    check(build(fn, spec((k, m) if ta else (m, k), F32), spec((n, k) if tb else (k, n), F32)), threads=(1, 2, 4))


def test_attention_reads_its_heads_as_views():
    def fn(b: Builder, q: Value, k: Value, v: Value) -> Value:
        n, t, heads, d = 2, 33, 4, 16
        q, k, v = (OPS["reshape"](b, x, shape=(n, t, heads, d)) for x in (q, k, v))
        scores = OPS["dot"](b, q, k, contract=((3,), (3,)), batch=((0, 2), (0, 2)))
        shape = scores.type.shape
        z = ew.exp(b, ew.sub(b, scores, bcast(b, OPS["reduce_max"](b, scores, axes=(3,)), shape, (0, 1, 2))))
        p = ew.div(b, z, bcast(b, OPS["reduce_sum"](b, z, axes=(3,)), shape, (0, 1, 2)))
        o = OPS["dot"](b, p, v, contract=((3,), (1,)), batch=((0, 1), (0, 2)))
        return OPS["reshape"](b, OPS["transpose"](b, o, perm=(0, 2, 1, 3)), shape=(n, t, heads * d))

    check(build(fn, *[spec((2, 33, 64), F32)] * 3))


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2, 0, 3)])
def test_empty_arrays(shape: tuple[int, ...]):
    def fn(b: Builder, x: Value, y: Value) -> list[Value]:
        n = len(shape)
        outputs = [ew.add(b, x, y), OPS["transpose"](b, x, perm=tuple(range(n))[::-1])]
        outputs += [OPS["reduce_sum"](b, x, axes=(i,)) for i in range(n)]
        outputs += [OPS["reduce_prod"](b, x, axes=tuple(range(n))), OPS["cumsum"](b, x, axis=0, reverse=False)]
        outputs.append(OPS["concatenate"](b, x, y, axis=n - 1))
        outputs.append(OPS["dot"](b, x, y, contract=((n - 1,), (n - 1,)), batch=((), ())))
        outputs.append(OPS["pad"](b, x, low=(1,) * n, high=(0,) * n, interior=(2,) * n, value=3.0))
        return outputs

    check(build(fn, spec(shape, F32), spec(shape, F32)))


# ---- writing over inputs


def momentum(b: Builder, w: Value, m: Value, g: Value) -> list[Value]:
    m = ew.add(b, ew.mul(b, m, b.full_like(m, 0.9)), g)
    return [ew.sub(b, w, ew.mul(b, m, b.full_like(m, 0.1))), m, OPS["reduce_sum"](b, ew.mul(b, w, w), axes=(0, 1))]


def test_updates_are_written_where_the_inputs_were():
    graph = build(momentum, *[spec((400, 70), F32)] * 3, aliases={0: 0, 1: 1})
    check(graph)
    made = plan(run_passes(graph), 1)
    assert not made.copied_back
    assert made.arena_bytes < made.graph.inputs[0].type.nbytes


def test_an_input_that_is_read_after_its_update_is_copied_back():
    def fn(b: Builder, w: Value, g: Value) -> list[Value]:
        new = OPS["dot"](b, w, g, contract=((1,), (0,)), batch=((), ()))
        return [new, OPS["reduce_sum"](b, ew.mul(b, OPS["tanh"](b, new), w), axes=(0, 1))]

    check(build(fn, *[spec((40, 40), F32)] * 2, aliases={0: 0}))


def test_two_inputs_may_change_places():
    graph = build(lambda b, x, y: [y, x], spec((5000,), F32), spec((5000,), F32), aliases={0: 0, 1: 1})
    check(graph)


def test_an_input_is_overwritten_by_its_own_transpose():
    check(build(lambda b, x: OPS["transpose"](b, x, perm=(1, 0)), spec((90, 90), F32), aliases={0: 0}))


def test_one_value_overwrites_two_inputs():
    graph = build(lambda b, x, y: [z := ew.add(b, x, y), z], *[spec((3000,), F32)] * 2, aliases={0: 0, 1: 1})
    check(graph)


def test_an_unchanged_input_may_be_its_own_output():
    check(build(lambda b, x, y: [x, ew.neg(b, x)], *[spec((3000,), F32)] * 2, aliases={0: 0}))


def test_a_run_repeated_goes_on_from_where_it_was():
    graph = build(momentum, *[spec((40, 7), F32)] * 3, aliases={0: 0, 1: 1})
    w, m, g = arrays_for(graph)
    executable = Executable(plan(run_passes(graph), 2))
    bound = [w.copy(), m.copy(), g.copy()]
    for i, array in enumerate(bound):
        executable.bind_input(i, array)
    loss = np.empty((), F32)
    executable.bind_output(2, loss)
    for _ in range(5):
        executable.run()
        w, m, expected = interpret(graph, w, m, g)
        assert_close(loss, expected)
    assert_close(bound[0], w)


def test_outputs_in_the_arena_are_those_of_the_caller():
    graph = build(momentum, *[spec((400, 70), F32)] * 3, aliases={0: 0})
    arrays = arrays_for(graph)
    ours, theirs = run_compiled(graph, *arrays, outputs_in_arena=True), run_compiled(graph, *arrays)
    for a, c in zip(ours, theirs):
        assert a.tobytes() == c.tobytes()


# ---- indices out of range


def lookup(kind: str) -> Graph:
    def fn(b: Builder, w: Value, at: Value) -> list[Value]:
        b.origin = Origin("layers.3", "model.py:42")
        if kind == "check_index":
            at = ew.check_index(b, at, size=50)
        if kind == "check_exponent":
            at = ew.check_exponent(b, at)
        if kind == "scatter_add":
            rows = OPS["scatter_add"](b, w, at, b.full(1.0, spec((200, 8), F32)), axis=0, batch=0)
        else:
            rows = OPS["gather"](b, w, at, axis=0, batch=0)
        total = OPS["reduce_sum"](b, rows, axes=(0, 1))
        return [ew.add(b, w, b.full_like(w, 1)), total]

    return build(fn, spec((50, 8), F32), spec((200,), I64), aliases={0: 0})


@pytest.mark.parametrize("kind", ["gather", "check_index", "scatter_add"])
@pytest.mark.parametrize("bad", [50, -51, 2**40])
@pytest.mark.parametrize("threads", [1, 3])
def test_an_index_out_of_range_stops_the_run_before_anything_is_overwritten(kind: str, bad: int, threads: int):
    assert_stops(kind, bad, threads, IndexError)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_negative_exponent_stops_the_run_before_anything_is_overwritten(threads: int):
    assert_stops("check_exponent", -1, threads, ValueError)


def assert_stops(kind: str, bad: int, threads: int, error: type[Exception]) -> None:
    graph = lookup(kind)
    w, at = arrays_for(graph)
    at[137] = bad
    executable = Executable(plan(run_passes(graph), threads))
    bound = [w.copy(), at.copy()]
    for i, array in enumerate(bound):
        executable.bind_input(i, array)
    executable.bind_output(1, np.empty((), F32))
    with pytest.raises(error, match=r"model\.py:42.*layers\.3"):
        executable.run()
    np.testing.assert_array_equal(bound[0], w)
    np.testing.assert_array_equal(bound[1], at)
    bound[1][137] = 3
    at[137] = 3
    executable.run()
    np.testing.assert_array_equal(bound[0], interpret(graph, w, at)[0])


def test_an_index_of_the_last_entry_and_one_from_the_end_are_in_range():
    for kind in ("gather", "scatter_add"):
        graph = lookup(kind)
        w, at = arrays_for(graph)
        at[:3] = [49, -1, -50]
        check(graph, [w, at])


@pytest.mark.parametrize("shape", [(3000, 5), (5, 3000), (1, 30_000)])
def test_a_checked_index_inside_a_region_with_rows(shape: tuple[int, int]):
    def fn(b: Builder, x: Value, at: Value) -> list[Value]:
        inside = ew.check_index(b, at, size=4)
        columns = OPS["iota"](b, shape=shape, axis=1, dtype=np.dtype(I64))
        hit = ew.eq(b, columns, bcast(b, inside, shape, (0,)))
        return [OPS["reduce_sum"](b, ew.select(b, hit, x, b.full_like(x, 0)), axes=(1,))]

    graph = build(fn, spec(shape, F32), spec(shape[:1], I64))
    check(graph)
    x, at = arrays_for(graph)
    at[-1] = 4
    with pytest.raises(IndexError, match="out of range for 4 entries"):
        run_compiled(graph, x, at)


# ---- threads


def test_two_executables_of_one_plan_run_in_two_python_threads():
    graph = build(momentum, *[spec((600, 70), F32)] * 3, aliases={0: 0, 1: 1})
    made = plan(run_passes(graph), 2)
    arrays = [arrays_for(graph, seed) for seed in (0, 1)]
    expected = [run_compiled(graph, *a) for a in arrays]
    results: list[list[Array]] = [[], []]

    def work(k: int) -> None:
        executable = Executable(made)
        for _ in range(20):
            results[k] = run_executable(executable, graph, arrays[k])[0]

    workers = [threading.Thread(target=work, args=(k,)) for k in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for k in (0, 1):
        for actual, wanted in zip(results[k], expected[k], strict=True):
            assert actual.tobytes() == wanted.tobytes()
