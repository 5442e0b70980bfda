"""Laws of every op, one row of the table at a time, and the corners of meaning, checked by hand."""

from typing import get_args

import numpy as np
import pytest
from gradloom.ir import OPS, ArrayType, Builder, TypeRuleError, interpret, is_float, node_flops, parse, spec, type_of
from gradloom.ir.op import Family
from op_cases import CASES, COMPLEX_CASES, assert_matches, sample

TABLED = sorted(name for name, op in OPS.items() if op.body == "none" and name != "custom_vjp")
SHAPE_IN_ATTRIBUTES = {"reshape", "broadcast", "slice", "pad"}


def run(name, *arrays, **attrs):
    """The only output of one op on arrays, by the interpreter."""
    b = Builder()
    output = b.emit(OPS[name], *(b.input(type_of(np.asarray(a))) for a in arrays), **attrs)
    return interpret(b.graph([output]), *map(np.asarray, arrays))[0]


def f64(*values):
    return np.array(values, "float64")


# Laws.


@pytest.mark.parametrize("name", TABLED)
def test_every_op_has_every_facet_and_a_row(name):
    op = OPS[name]
    rows = [case for case in (*CASES, *COMPLEX_CASES) if case.name == name]
    assert op.name == name
    assert rows
    assert op.doc
    assert op.family in get_args(Family)
    assert all(callable(rule) for rule in (op.infer, op.reference, op.flops, op.axes))


@pytest.mark.parametrize("name", TABLED)
def test_rows_cover_every_dtype_that_the_op_takes(name):
    for case in (case for case in CASES if case.name == name and case.inputs):
        first = case.types[0].dtype
        for other in {t.dtype for c in CASES for t in c.types} - {c.types[0].dtype for c in CASES if c.name == name}:
            types = [ArrayType(t.shape, other if t.dtype == first else t.dtype) for t in case.types]
            with pytest.raises(TypeRuleError):
                OPS[name].infer(*types, **case.attrs)


def test_the_ops_from_floats_to_floats_without_derivative_are_constant_almost_everywhere():
    flat = {"floordiv", "sign", "floor", "ceil", "trunc", "rint", "stop_gradient"}
    of_floats = {
        case.name
        for case in CASES
        if any(is_float(t.dtype) for t in case.types) and is_float(case.op.infer(*case.types, **case.attrs).dtype)
    }
    assert {name for name in of_floats if OPS[name].vjp is None} == flat


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_reference_gives_exactly_the_inferred_type(case):
    inferred = case.op.infer(*case.types, **case.attrs)
    with np.errstate(all="ignore"):
        assert type_of(np.asarray(case.op.reference(*sample(case), **case.attrs))) == inferred


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_graph_of_one_node_verifies_and_survives_its_text(case):
    graph = case.graph()
    graph.verify()
    again = parse(str(graph))
    again.verify()
    assert str(again) == str(graph)
    arrays = sample(case)
    for one, other in zip(interpret(graph, *arrays), interpret(again, *arrays), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_flops_are_counted_and_zero_where_nothing_is_computed(case):
    flops = node_flops(case.graph().nodes[0])
    assert isinstance(flops, int)
    moves = case.op.family in {"movement", "creation", "collective"} or case.name in {
        "gather",
        "window_pick",
        "cast",
        "copy",
        "save",
        "stop_gradient",
        "check_index",
        "check_exponent",
        "check_finite",
    }
    works = not moves and all(t.size for t in case.types)
    assert (flops > 0) if works else (flops == 0)


@pytest.mark.parametrize("case", [case for case in CASES if case.inputs], ids=str)
def test_an_element_along_an_aligned_axis_reaches_only_its_own_index(case):
    (output,) = case.graph().outputs
    axes = case.op.axes(case.types, output.type, case.attrs)
    assert [len(of_input) for of_input in axes] == [output.type.ndim] * len(case.types)
    rng = np.random.default_rng(1)
    arrays = sample(case)
    with np.errstate(all="ignore"):
        expected = np.asarray(case.op.reference(*arrays, **case.attrs))
        for k in range(output.type.ndim):
            aligned = [(x, of_input[k]) for x, of_input in enumerate(axes) if of_input[k] is not None]
            for x, axis in aligned:
                assert case.types[x].shape[axis] == output.type.shape[k], "aligned axes are of one length"
            for i in range(output.type.shape[k] if aligned else 0):
                changed, others = [np.array(a) for a in arrays], sample(case, rng)
                for x, axis in aligned:
                    at = (slice(None),) * axis + (i,)
                    changed[x][at] = others[x][at]
                actual = np.asarray(case.op.reference(*changed, **case.attrs))
                np.testing.assert_array_equal(np.delete(actual, i, k), np.delete(expected, i, k))


@pytest.mark.parametrize("case", [c for c in CASES if c.inputs and c.name not in SHAPE_IN_ATTRIBUTES], ids=str)
def test_a_slice_along_aligned_axes_gives_a_slice_of_the_output(case):
    (output,) = case.graph().outputs
    axes = case.op.axes(case.types, output.type, case.attrs)
    arrays = sample(case)
    with np.errstate(all="ignore"):
        expected = np.asarray(case.op.reference(*arrays, **case.attrs))
        for k in range(output.type.ndim):
            if all(of_input[k] is None for of_input in axes):
                continue
            for i in range(output.type.shape[k]):
                parts = [
                    a if of_input[k] is None else np.take(a, [i], of_input[k])
                    for a, of_input in zip(arrays, axes, strict=True)
                ]
                assert_matches(case, np.asarray(case.op.reference(*parts, **case.attrs)), np.take(expected, [i], k))


# What the axes are, where the law alone would allow a rule that says too little.


@pytest.mark.parametrize(
    ("name", "types", "attrs", "expected"),
    [
        ("add", ["2,3", "2,3"], {}, [[0, 1], [0, 1]]),
        ("reshape", ["2,3,4"], {"shape": (2, 12)}, [[0, None]]),
        ("transpose", ["2,3,4"], {"perm": (2, 0, 1)}, [[2, 0, 1]]),
        ("broadcast", ["3"], {"shape": (2, 3), "axes": (1,)}, [[None, 0]]),
        ("slice", ["5,4"], {"start": (0, 1), "stop": (5, 4), "step": (1, 1)}, [[0, None]]),
        ("reverse", ["5,4"], {"axes": (1,)}, [[0, None]]),
        ("pad", ["5,4"], {"low": (0, 1), "high": (0, 0), "interior": (0, 0), "value": 0}, [[0, None]]),
        ("concatenate", ["5,4", "5,1"], {"axis": 1}, [[0, None], [0, None]]),
        ("reduce_sum", ["2,3,4"], {"axes": (1,)}, [[0, 2]]),
        ("argmax", ["2,3,4"], {"axis": 0}, [[1, 2]]),
        ("cumsum", ["2,3"], {"axis": 1, "reverse": False}, [[0, None]]),
        ("dot", ["2,3,4", "2,4,5"], {"contract": ((2,), (1,)), "batch": ((0,), (0,))}, [[0, 1, None], [0, None, 2]]),
    ],
)
def test_the_axes_that_an_op_keeps_apart(name, types, attrs, expected):
    inputs = [spec([int(n) for n in t.split(",")], "float64") for t in types]
    output = OPS[name].infer(*inputs, **attrs)
    assert [list(of_input) for of_input in OPS[name].axes(inputs, output, attrs)] == expected


def test_the_axes_of_gather_and_scatter_add_with_batch_axes():
    x, indices, updates = spec((2, 3, 5, 7), "float64"), spec((2, 4), "int64"), spec((2, 3, 4, 7), "float64")
    attrs = {"axis": 2, "batch": 1}
    assert list(OPS["gather"].axes([x, indices], updates, attrs)) == [[0, 1, None, 3], [0, None, 1, None]]
    assert list(OPS["scatter_add"].axes([x, indices, updates], x, attrs)) == [
        [0, 1, None, 3],
        [0, None, None, None],
        [0, 1, None, 3],
    ]


@pytest.mark.parametrize(
    ("name", "expected"), [("add", 6), ("reduce_sum", 6), ("cumsum", 6), ("argmax", 6), ("copy", 0), ("cast", 0)]
)
def test_flops_of_a_2_by_3_array(name, expected):
    x = spec((2, 3), "float64")
    attrs = {
        "reduce_sum": {"axes": (1,)},
        "cumsum": {"axis": 0, "reverse": False},
        "argmax": {"axis": 0},
        "cast": {"dtype": np.dtype("int32")},
    }.get(name, {})
    inputs = [x] * (2 if name == "add" else 1)
    output = OPS[name].infer(*inputs, **attrs)
    assert OPS[name].flops(inputs, [output], attrs) == expected


def test_flops_of_a_contraction_are_2mnk_for_each_batch():
    attrs = {"contract": ((2,), (1,)), "batch": ((0,), (0,))}
    inputs = [spec((7, 2, 3), "float32"), spec((7, 3, 5), "float32")]
    assert OPS["dot"].flops(inputs, [OPS["dot"].infer(*inputs, **attrs)], attrs) == 2 * 7 * 2 * 3 * 5


# Refusals.

F, G, D = spec((2, 3)), spec((3, 2)), spec((2, 3), "float64")
IDS, B, KEY = spec((2,), "int64"), spec((2, 3), "bool"), spec((), "int64")
MATMUL = {"contract": ((1,), (0,)), "batch": ((), ())}


@pytest.mark.parametrize(
    ("name", "types", "attrs", "message"),
    [
        ("add", [F, G], {}, r"shapes differ: f32\[2,3\], f32\[3,2\]"),
        ("add", [F, D], {}, r"dtypes differ: f32\[2,3\], f64\[2,3\]"),
        ("add", [B, B], {}, r"takes a number, got bool\[2,3\]"),
        ("add", [F], {}, r"takes 2 inputs, got 1: f32\[2,3\]"),
        ("neg", [F, F], {}, r"takes 1 inputs, got 2"),
        ("exp", [IDS], {}, r"takes a float, got i64\[2\]"),
        ("and", [F, F], {}, r"takes an integer or bool, got f32\[2,3\]"),
        ("shift_left", [B, B], {}, r"takes an integer, got bool\[2,3\]"),
        ("select", [F, F, F], {}, r"the condition is a bool, got f32\[2,3\]"),
        ("select", [B, F, D], {}, r"dtypes differ: f32\[2,3\], f64\[2,3\]"),
        ("select", [B, F, G], {}, r"shapes differ: bool\[2,3\], f32\[2,3\], f32\[3,2\]"),
        ("cast", [F], {"dtype": np.dtype("U3")}, "dtype .* is not supported"),
        ("check_index", [F], {"size": 3}, r"an index is an integer, got f32\[2,3\]"),
        ("check_exponent", [F], {}, r"the exponent of an integer is an integer, got f32\[2,3\]"),
        ("check_finite", [IDS], {}, r"integers are always finite, got i64\[2\]"),
        ("reshape", [F], {"shape": (4, 2)}, r"f32\[2,3\] has 6 elements, shape \(4, 2\) has 8"),
        ("reshape", [F], {"shape": (-2, -3)}, r"shape \(-2, -3\)"),
        ("transpose", [F], {"perm": (0, 0)}, r"\(0, 0\) is no permutation of the axes of f32\[2,3\]"),
        ("broadcast", [F], {"shape": (2, 4), "axes": (0, 1)}, r"f32\[2,3\] does not fit the axes \(0, 1\)"),
        ("broadcast", [F], {"shape": (3, 2), "axes": (1, 0)}, r"axes \(1, 0\) do not place f32\[2,3\]"),
        ("broadcast", [F], {"shape": (2, 3, -1), "axes": (0, 1)}, r"shape \(2, 3, -1\)"),
        ("slice", [F], {"start": (0,), "stop": (1,), "step": (1,)}, r"are not for the axes of f32\[2,3\]"),
        ("slice", [F], {"start": (0, 0), "stop": (2, 4), "step": (1, 1)}, r"0:4:1 lies outside an axis of length 3"),
        ("slice", [F], {"start": (0, 0), "stop": (2, 3), "step": (1, 0)}, r"0:3:0"),
        ("reverse", [F], {"axes": (2,)}, r"axes \(2,\) of f32\[2,3\]"),
        ("pad", [F], {"low": (0,), "high": (0,), "interior": (0,), "value": 0.0}, r"the axes of f32\[2,3\]"),
        ("pad", [F], {"low": (-1, 0), "high": (0, 0), "interior": (0, 0), "value": 0.0}, "padding is not negative"),
        ("concatenate", [F, G], {"axis": 0}, r"cannot join along axis 0: f32\[2,3\], f32\[3,2\]"),
        ("concatenate", [F, D], {"axis": 0}, r"cannot join along axis 0: f32\[2,3\], f64\[2,3\]"),
        ("concatenate", [F], {"axis": 2}, r"axis 2 of f32\[2,3\]"),
        ("concatenate", [], {"axis": 0}, "joins one array or more, got none"),
        ("reduce_sum", [F], {"axes": (1, 0)}, r"axes \(1, 0\) of f32\[2,3\]"),
        ("reduce_sum", [B], {"axes": (0,)}, r"does not take bool\[2,3\]"),
        ("reduce_max", [spec((0, 3))], {"axes": (0,)}, r"no value over the empty axes \(0,\) of f32\[0,3\]"),
        ("argmax", [spec((0, 3))], {"axis": 0}, r"no value over the empty axis 0 of f32\[0,3\]"),
        ("argmax", [F], {"axis": 2}, r"axes \(2,\) of f32\[2,3\]"),
        ("cumsum", [B], {"axis": 0, "reverse": False}, r"does not take bool\[2,3\]"),
        ("dot", [F, D], MATMUL, r"one number dtype, got f32\[2,3\] and f64\[2,3\]"),
        ("dot", [F, F], MATMUL, r"contracted axes \(1,\) of f32\[2,3\] and \(0,\) of f32\[2,3\] differ in length"),
        ("dot", [F, G], {"contract": ((0,), (1,)), "batch": ((0,), (0,))}, r"not distinct axes of f32\[2,3\]"),
        ("dot", [F, F], {"contract": ((), ()), "batch": ((0,), (1,))}, r"batch axes \(0,\) of f32\[2,3\]"),
        ("gather", [F, F], {"axis": 0, "batch": 0}, r"an index is an integer, got f32\[2,3\]"),
        ("gather", [F, IDS], {"axis": 2, "batch": 0}, r"axis 2 with 0 batch axes of f32\[2,3\] and i64\[2\]"),
        ("gather", [G, IDS], {"axis": 1, "batch": 1}, r"the first 1 axes of f32\[3,2\] and i64\[2\] differ"),
        ("scatter_add", [F, IDS, F], {"axis": 1, "batch": 0}, r"updates are f32\[2,3\], expected f32\[2,2\]"),
        ("scatter_add", [F, IDS, D], {"axis": 0, "batch": 0}, r"updates are f64\[2,3\], expected f32\[2,3\]"),
        ("scatter_add", [B, IDS, B], {"axis": 0, "batch": 0}, r"does not add bool\[2,3\]"),
        ("full", [], {"value": 0, "shape": (-1,), "dtype": np.dtype("float32")}, r"no arrays of shape \(-1,\)"),
        ("constant", [], {"value": np.zeros(2, "U3")}, "no arrays of shape .* and dtype "),
        ("iota", [], {"shape": (2,), "axis": 1, "dtype": np.dtype("int64")}, r"axis 1 of shape \(2,\)"),
        ("iota", [], {"shape": (2,), "axis": 0, "dtype": np.dtype("bool")}, "not in bool"),
        ("random_bits", [F], {"shape": (), "dtype": np.dtype("int32"), "stream": 0}, r"int64 scalars, got f32\[2,3\]"),
        ("random_bits", [KEY], {"shape": (), "dtype": np.dtype("float32"), "stream": 0}, "bits are int32 or int64"),
        ("random_bits", [KEY], {"shape": (), "dtype": np.dtype("int32"), "stream": -1}, "unsigned number"),
        (
            "random_bits",
            [KEY],
            {"shape": (), "dtype": np.dtype("int32"), "stream": 0, "run": 5, "apart": 4},
            "runs of 5 elements cannot begin 4 outputs apart",
        ),
    ],
)
def test_the_type_rule_refuses(name, types, attrs, message):
    b = Builder()
    inputs = [b.input(t) for t in types]
    with pytest.raises(TypeRuleError, match=f"^{name}: .*{message}"):
        b.emit(OPS[name], *inputs, **attrs)


def test_every_rule_refuses_an_attribute_that_it_does_not_know():
    for name in TABLED:
        case = next(case for case in (*CASES, *COMPLEX_CASES) if case.name == name)
        with pytest.raises(TypeError):
            OPS[name].infer(*case.types, **case.attrs, nonsense=1)


# Corners of meaning.

NAN, INF = float("nan"), float("inf")


def same(actual, expected):
    """Equal to the bit, but for the sign and payload of NaN."""
    expected = np.asarray(expected)
    np.testing.assert_array_equal(actual, expected)
    if expected.dtype.kind == "f":
        numbers = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(actual)[numbers], np.signbit(expected)[numbers])


def test_relu_keeps_nan_and_the_sign_of_zero():
    same(run("relu", f64(NAN, -1, -0.0, 0, 2, INF, -INF)), f64(NAN, 0, -0.0, 0, 2, INF, 0))


def test_maximum_and_minimum_keep_nan():
    same(run("maximum", f64(NAN, 1, 2), f64(1, NAN, 3)), f64(NAN, NAN, 3))
    same(run("minimum", f64(NAN, 1, 2), f64(1, NAN, 3)), f64(NAN, NAN, 2))


def test_sign_of_zero_and_nan():
    same(run("sign", f64(-3, -0.0, 0, 5, NAN)), f64(-1, 0, 0, 1, NAN))


def test_rint_takes_halves_to_even():
    same(run("rint", f64(-1.5, -0.5, 0.5, 1.5, 2.5)), f64(-2, -0.0, 0, 2, 2))


def test_integer_pow_with_negative_exponents_truncates():
    x = np.array([-2, -1, -1, 0, 1, 2], "int32")
    y = np.array([-1, -2, -3, -1, -5, -1], "int32")
    same(run("pow", x, y), np.array([0, 1, -1, 0, 1, 0], "int32"))
    same(run("pow", np.array([0, 2, 3], "uint8"), np.array([0, 7, 2], "uint8")), np.array([1, 128, 9], "uint8"))


def test_integers_divide_downwards_and_by_zero_to_zero():
    x, y = np.array([7, -7, 7, -7, 5, -5], "int64"), np.array([2, 2, -2, -2, 0, 0], "int64")
    same(run("floordiv", x, y), np.array([3, -4, -4, 3, 0, 0], "int64"))
    same(run("mod", x, y), np.array([1, 1, -1, -1, 0, 0], "int64"))


def test_float_mod_has_the_sign_of_the_divisor():
    same(run("mod", f64(5.5, -5.5, 5.5, 1), f64(2, 2, -2, 0)), f64(1.5, 0.5, -0.5, NAN))


def test_unsigned_numbers_wrap():
    x, y = np.array([1, 255], "uint8"), np.array([2, 1], "uint8")
    same(run("sub", x, y), np.array([255, 254], "uint8"))
    same(run("add", x, y), np.array([3, 0], "uint8"))
    same(run("neg", x), np.array([255, 1], "uint8"))
    same(run("reduce_sum", np.full(3, 100, "uint8"), axes=(0,)), np.uint8(44))


def test_a_shift_by_the_width_or_more_leaves_nothing_but_the_sign():
    x = np.array([5, -5, 5, -5], "int32")
    y = np.array([31, 31, 40, 40], "int32")
    same(run("shift_right", x, y), np.array([0, -1, 0, -1], "int32"))
    same(run("shift_left", x, y), np.array([-(2**31), -(2**31), 0, 0], "int32"))
    same(run("shift_right", x, -y), np.array([0, -1, 0, -1], "int32"))
    same(run("shift_left", x, -y), np.array([0, 0, 0, 0], "int32"))


def test_comparisons_with_nan_are_false_but_for_ne():
    x, y = f64(NAN, 1), f64(NAN, 1)
    for name, expected in (("eq", 1), ("le", 1), ("ge", 1), ("lt", 0), ("gt", 0)):
        same(run(name, x, y), np.array([False, bool(expected)]))
    same(run("ne", x, y), np.array([True, False]))


def test_select_takes_whole_elements_and_ignores_nan_on_the_other_side():
    same(run("select", np.array([True, False]), f64(1, NAN), f64(NAN, 2)), f64(1, 2))


def test_cast_of_floats_that_no_integer_holds_is_that_of_x86():
    x = f64(NAN, INF, -INF, 2.0**31 - 0.5, 2.0**31, -(2.0**31) - 0.5, -(2.0**31) - 1, 2.0**32 + 7, 300.7, -1, 2.0**63)
    least, most = -(2**31), 2**31 - 1
    narrow = [least, least, least, most, least, least, least, least, 300, -1, least]
    same(run("cast", x, dtype=np.dtype("int32")), np.array(narrow, "int32"))
    same(run("cast", x, dtype=np.dtype("uint8")), np.array([v & 255 for v in narrow], "uint8"))
    wide = [-(2**63)] * 3 + [most, 2**31, least, least - 1, 2**32 + 7, 300, -1, -(2**63)]
    same(run("cast", x, dtype=np.dtype("int64")), np.array(wide, "int64"))
    same(run("cast", x.astype("float32"), dtype=np.dtype("int32"))[[0, 4, 8]], np.array([least, least, 300], "int32"))
    same(run("cast", np.array(NAN, "float32"), dtype=np.dtype("int32")), np.array(least, "int32"))


def test_the_least_integer_has_no_opposite():
    for dtype, least in (("int32", -(2**31)), ("int64", -(2**63))):
        x, y = np.array([least, least], dtype), np.array([-1, 0], dtype)
        same(run("floordiv", x, y), np.array([least, 0], dtype))
        same(run("mod", x, y), np.array([0, 0], dtype))
        same(run("abs", x), x)
        same(run("neg", x), x)


def test_cast_truncates_and_makes_truth_of_all_but_zero():
    same(run("cast", f64(-1.9, 1.9), dtype=np.dtype("int32")), np.array([-1, 1], "int32"))
    same(run("cast", f64(0, -0.0, 0.1, NAN), dtype=np.dtype("bool")), np.array([False, False, True, True]))


def test_reductions_over_no_elements_give_their_neutral_element():
    empty = np.zeros((0, 2))
    same(run("reduce_sum", empty, axes=(0,)), f64(0, 0))
    same(run("reduce_prod", empty, axes=(0,)), f64(1, 1))
    same(run("reduce_max", np.zeros((2, 0)), axes=(0,)), np.zeros(0))
    same(run("reduce_max", f64(3, 4), axes=()), f64(3, 4))


def test_reductions_of_bool_are_or_and_and():
    x = np.array([[True, False], [False, False]])
    same(run("reduce_max", x, axes=(1,)), np.array([True, False]))
    same(run("reduce_min", x, axes=(0, 1)), np.bool_(False))
    same(run("reduce_max", x, axes=()), x)


def test_reduce_max_and_min_keep_nan():
    x = np.array([[1, NAN], [2, 3]])
    same(run("reduce_max", x, axes=(1,)), f64(NAN, 3))
    same(run("reduce_min", x, axes=(1,)), f64(NAN, 2))


def test_argmax_and_argmin_take_the_first_and_nan_before_all():
    x = np.array([[1, 3, 3], [2, NAN, NAN], [-INF, -INF, -INF]])
    same(run("argmax", x, axis=1), np.array([1, 1, 0]))
    same(run("argmin", -x, axis=1), np.array([1, 1, 0]))


def test_cumsum_runs_from_either_end():
    x = f64(1, 2, 3)
    same(run("cumsum", x, axis=0, reverse=False), f64(1, 3, 6))
    same(run("cumsum", x, axis=0, reverse=True), f64(6, 5, 3))


def test_pad_puts_values_before_between_and_after():
    same(run("pad", f64(1, 2), low=(1,), high=(2,), interior=(1,), value=9.0), f64(9, 1, 9, 2, 9, 9))
    same(run("pad", f64(), low=(1,), high=(0,), interior=(3,), value=9.0), f64(9))


def test_slice_strides_and_reverse_turns():
    x = np.arange(7.0)
    same(run("slice", x, start=(1,), stop=(6,), step=(2,)), f64(1, 3, 5))
    same(run("reverse", x[:3], axes=(0,)), f64(2, 1, 0))


@pytest.mark.parametrize(
    ("x", "y", "contract", "batch", "subscripts"),
    [
        ((2, 3, 4), (4, 3, 5), ((1, 2), (1, 0)), ((), ()), "abc,cbd->ad"),
        ((2, 3, 4), (4, 3, 5), ((2, 1), (0, 1)), ((), ()), "abc,cbd->ad"),
        ((2, 3, 4, 5), (3, 6, 5, 2), ((3,), (2,)), ((1, 0), (0, 3)), "abcd,bfda->bacf"),
        ((2, 3, 4, 5), (6, 4, 2, 3, 5), ((2, 0), (1, 2)), ((3, 1), (4, 3)), "abcd,fcabd->dbf"),
        ((2, 3), (4, 5), ((), ()), ((), ()), "ab,cd->abcd"),
        ((2, 3), (3, 2), ((), ()), ((1, 0), (0, 1)), "ab,ba->ba"),
    ],
)
def test_dot_is_einsum(x, y, contract, batch, subscripts):
    rng = np.random.default_rng(0)
    left, right = rng.integers(-5, 5, x), rng.integers(-5, 5, y)
    same(run("dot", left, right, contract=contract, batch=batch), np.einsum(subscripts, left, right))


def test_gather_with_batch_axes_reads_its_own_rows():
    x = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    indices = np.array([[3, -1], [0, 1]])
    expected = np.stack([x[i][:, indices[i]] for i in range(2)])
    same(run("gather", x, indices, axis=2, batch=1), expected)


def test_scatter_add_adds_again_at_an_index_that_comes_again():
    x = np.zeros((2, 3))
    indices = np.array([[0, 0, -1], [2, 1, 1]])
    updates = f64(1, 2, 4, 8, 16, 32).reshape(2, 3)
    same(run("scatter_add", x, indices, updates, axis=1, batch=1), f64(3, 0, 4, 0, 48, 8).reshape(2, 3))
    assert not x.any(), "the input is left alone"


def test_scatter_add_undoes_gather():
    """<gather(x), u> = <x, scatter_add(0, u)> for every row of the table."""
    for case in (case for case in CASES if case.name == "gather" and case.order):
        x, indices = sample(case)
        gathered = run("gather", x, indices, **case.attrs)
        u = np.random.default_rng(0).normal(size=gathered.shape).astype(x.dtype)
        scattered = run("scatter_add", np.zeros_like(x), indices, u, **case.attrs)
        np.testing.assert_allclose((gathered * u).sum(), (x * scattered).sum(), rtol=1e-5, atol=1e-7)


# Random bits.


def bits(key, shape, dtype="int64", stream=0):
    return run("random_bits", np.int64(key), shape=shape, dtype=np.dtype(dtype), stream=stream)


GOLDEN = {
    (0, 0): [-2152535657050944081, 7960286522194355700, 487617019471545679, -537132696929009172],
    (0, 1): [6235967106033911276, 4964577235801436555, 5009519748041543987, 8857564815614722297],
    (1, 0): [-4616330145664149646, 6869446166584666695, 8084911050856847527, -846397198931878612],
    (1, 1): [-8807323227567747167, 5283499334869912440, -932493399836489653, 3250496332230028739],
}


@pytest.mark.parametrize(("key", "stream"), GOLDEN)
def test_random_bits_are_these(key, stream):
    same(bits(key, (4,), stream=stream), np.array(GOLDEN[key, stream]))
    same(bits(key, (4,), "int32", stream), (np.array(GOLDEN[key, stream]) >> 32).astype("int32"))


def test_random_bits_of_a_state_are_split_mix_64():
    """The first outputs of the generator whose state is 0, as published with the algorithm."""
    golden, mask = 0x9E3779B97F4A7C15, 2**64 - 1

    def mix(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    assert mix(golden) == 0xE220A8397B1DCDAF
    for key, stream in ((0, 0), (5, 3), (-1, 2**64 - 1)):
        state = mix((key & mask) ^ mix(stream * golden & mask))
        expected = [mix(state + (i + 1) * golden & mask) for i in range(5)]
        same(bits(key, (5,), stream=stream).view("uint64"), np.array(expected, "uint64"))


def test_random_bits_do_not_depend_on_the_shape():
    same(bits(3, (2, 6)).ravel(), bits(3, (12,)))
    same(bits(3, (4,)), bits(3, (12,))[:4])


def test_random_bits_are_uniform():
    n = 1 << 16
    for dtype, width in (("int64", 64), ("int32", 32)):
        drawn = bits(7, (n,), dtype)
        unit = drawn.view(f"uint{width}") / 2.0**width
        assert abs(unit.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n)
        assert abs(unit.var() - 1 / 12) < 0.002
        ones = [int((drawn >> i & 1).sum()) for i in range(width)]
        assert max(abs(count - n / 2) for count in ones) < 5 * np.sqrt(n / 4)
        assert abs(np.corrcoef(unit[:-1], unit[1:])[0, 1]) < 5 / np.sqrt(n)


def test_no_two_keys_or_streams_give_the_same_bits():
    heads = {bits(key, (2,), stream=stream).tobytes() for key in range(-32, 32) for stream in range(32)}
    assert len(heads) == 64 * 32
    one, other = bits(0, (4096,), stream=0), bits(0, (4096,), stream=1)
    assert not np.intersect1d(one, other).size


# Constants.


def test_a_constant_of_one_value_is_a_full():
    b = Builder()
    for array in (f64(2, 2, 2), f64(NAN, NAN), f64(-0.0, -0.0), np.array(5, "int32"), np.ones((2, 2), "bool")):
        value = b.constant(array)
        assert value.node.op.name == "full"
        same(interpret(b.graph([value]))[0], array)


def test_a_constant_of_several_values_stays_as_it_is():
    b = Builder()
    for array in (f64(1, 2), f64(0.0, -0.0), np.zeros(0)):
        value = b.constant(array)
        assert value.node.op.name == "constant"
        same(interpret(b.graph([value]))[0], array)
