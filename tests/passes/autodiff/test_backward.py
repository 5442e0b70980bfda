"""Reverse mode: every derivative against finite differences, and the structure of what is made."""

import numpy as np
import pytest
from gradloom.ir import NOWHERE, OPS, Builder, Graph, Origin, interpret, is_float, parse, spec
from gradloom.ir.ops import elementwise as ew
from gradloom.passes.autodiff.backward import add_backward, vjp_graph
from hypothesis import given, settings
from op_cases import CASES, sample
from random_graphs import graphs, random_inputs

SMOOTH = [
    case
    for case in CASES
    if case.order
    and {t.dtype for t in (*case.types, case.graph().outputs[0].type) if is_float(t.dtype)} == {np.dtype("float64")}
]
F64 = np.dtype("float64")
STEP = 1e-5


def float_inputs(graph):
    return [i for i, value in enumerate(graph.inputs) if is_float(value.type.dtype)]


def assert_vjp_is_right(graph, arrays, rng, tolerance=1e-6):
    """Compare <vjp(u), d> with <u, df/dd>, by central differences, along two random directions d."""
    wrt = float_inputs(graph)
    differentiated = vjp_graph(graph, wrt)
    differentiated.verify()
    assert str(parse(str(differentiated))) == str(differentiated)
    count = len(graph.outputs)
    cotangents = [
        rng.normal(size=v.type.shape) if is_float(v.type.dtype) else np.zeros(v.type.shape, v.type.dtype)
        for v in graph.outputs
    ]
    results = interpret(differentiated, *arrays, *cotangents)
    for value, plain in zip(results[:count], interpret(graph, *arrays), strict=True):
        np.testing.assert_array_equal(value, plain)
    for _ in range(2):
        directions = {i: rng.normal(size=arrays[i].shape) for i in wrt}
        above, below = (
            interpret(graph, *(a + sign * STEP * directions[i] if i in directions else a for i, a in enumerate(arrays)))
            for sign in (1, -1)
        )
        numeric = sum(
            (u * (high - low)).sum() / (2 * STEP)
            for u, high, low in zip(cotangents, above, below, strict=True)
            if is_float(u.dtype)
        )
        terms = [(gradient * directions[i]) for i, gradient in zip(wrt, results[count:], strict=True)]
        analytic = sum(term.sum() for term in terms)
        size = 1 + sum(np.abs(term).sum() for term in terms)
        assert abs(analytic - numeric) < tolerance * size
    return differentiated, [*arrays, *cotangents]


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_first_and_second_derivatives_agree_with_finite_differences(case):
    rng = np.random.default_rng(0)
    graph, arrays = case.graph(), sample(case)
    for _ in range(case.order):
        graph, arrays = assert_vjp_is_right(graph, arrays, rng)


@settings(max_examples=100)
@given(graphs(dtypes=("float64", "int64", "bool"), smooth=True, decorated=True, scans=True))
def test_derivatives_of_random_graphs_with_random_checkpoints_agree_with_finite_differences(graph):
    differentiated, arrays = assert_vjp_is_right(graph, random_inputs(graph), np.random.default_rng(0), 1e-5)
    plain = vjp_graph(without_checkpoints(graph), float_inputs(graph))
    for one, other in zip(interpret(differentiated, *arrays), interpret(plain, *arrays), strict=True):
        np.testing.assert_array_equal(one, other)


# What splits a step's complex numbers, and derivatives that have none of second order: the tests of complex numbers and
# of special functions differentiate these.
ELSEWHERE = {"custom_vjp", "complex", "conj", "real", "imag", "planes", "from_planes"}
ELSEWHERE |= {"zeta", "expn", "gammainc_slope", "betainc_slope_a", "betainc_slope_b"}


@pytest.mark.parametrize("name", sorted({name for name, op in OPS.items() if op.vjp is not None} - ELSEWHERE))
def test_every_differentiable_op_is_differentiated_here(name):
    assert any(case.name == name for case in SMOOTH)


def gradient_of(build, *arrays):
    """The gradient of sum(build(b, *inputs)) with respect to every input."""
    b = Builder()
    output = build(b, *(b.input(spec(np.shape(a), "float64")) for a in arrays))
    graph = vjp_graph(b.graph([output]), range(len(arrays)))
    return interpret(graph, *(np.asarray(a, F64) for a in arrays), np.ones(output.type.shape))[1:]


# Where a derivative is a choice.


def test_relu_has_derivative_0_at_0():
    (g,) = gradient_of(ew.relu, [-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(g, [0, 0, 1])


def test_abs_has_derivative_0_at_0():
    (g,) = gradient_of(ew.abs_, [-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(g, [-1, 0, 1])


@pytest.mark.parametrize("op", [ew.maximum, ew.minimum])
def test_a_tie_splits_the_gradient_equally(op):
    gx, gy = gradient_of(op, [1.0, 2.0, 0.0], [1.0, 3.0, -0.0])
    np.testing.assert_array_equal(gx + gy, 1)
    np.testing.assert_array_equal(gx[[0, 2]], 0.5)


@pytest.mark.parametrize("name", ["reduce_max", "reduce_min"])
def test_all_that_attain_the_extreme_share_its_gradient(name):
    (g,) = gradient_of(lambda b, x: OPS[name](b, x, axes=(1,)), [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    np.testing.assert_allclose(g, 1 / 3)


def test_the_gradient_of_a_product_is_right_where_factors_are_zero():
    (g,) = gradient_of(lambda b, x: OPS["reduce_prod"](b, x, axes=(1,)), [[2.0, 0, 3], [0, 0, 5], [2, 3, 4]])
    np.testing.assert_array_equal(g, [[0, 6, 0], [0, 0, 0], [12, 8, 6]])


def test_pow_has_finite_derivatives_at_zero():
    gx, gy = gradient_of(ew.pow, [0.0, 0.0, 0.0, 2.0], [2.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(gx, [0, 1, 0, 0])
    np.testing.assert_allclose(gy, [0, 0, 0, np.log(2)])


def test_pow_has_the_right_mixed_derivative_at_exponent_zero():
    """d/dx d/dy x^y = 1/x at y = 0."""
    once = vjp_graph(parse("graph(%x: f64[], %y: f64[]) {\n %0: f64[] = pow(%x, %y)\n return %0\n}"), [0])
    (*_, d) = interpret(vjp_graph(once, [1]), *map(np.float64, (4.0, 0.0, 1.0, 0.0, 1.0)))
    assert d == pytest.approx(0.25)


# Structure.


def test_the_cotangent_of_a_cast_has_the_dtype_of_its_input():
    b = Builder()
    x = b.input(spec((2,), "float64"))
    graph = vjp_graph(b.graph([ew.cast(b, x, dtype=np.dtype("float32"))]), [0])
    _, g = interpret(graph, np.ones(2), np.array([0.1, 2], "float32"))
    np.testing.assert_array_equal(g, np.array([0.1, 2], "float32").astype("float64"))


def test_broadcasting_is_undone_by_a_sum():
    b = Builder()
    x = b.input(spec((3,), "float64"))
    y = OPS["broadcast"](b, x, shape=(2, 3, 4), axes=(1,))
    (_, g) = interpret(vjp_graph(b.graph([y]), [0]), np.zeros(3), np.arange(24.0).reshape(2, 3, 4))
    np.testing.assert_array_equal(g, np.arange(24.0).reshape(2, 3, 4).sum(axis=(0, 2)))


def test_an_input_that_nothing_depends_on_gets_zeros():
    b = Builder()
    x, unused = b.input(spec((2,), "float64")), b.input(spec((3,), "float32"))
    graph = vjp_graph(b.graph([ew.floor(b, x)]), [0, 1])
    _, gx, g_unused = interpret(graph, np.ones(2), np.ones(3, "float32"), np.ones(2))
    np.testing.assert_array_equal(gx, np.zeros(2))
    np.testing.assert_array_equal(g_unused, np.zeros(3, "float32"))
    assert unused.type == graph.outputs[2].type


def test_a_derivative_with_respect_to_integers_is_refused():
    b = Builder()
    x = b.input(spec((2,), "int64"), "labels")
    with pytest.raises(TypeError, match=r"input 0 of type i64\[2\]: it is not a float"):
        vjp_graph(b.graph([x]), [0])


def test_nothing_flows_through_integers_or_stop_gradient():
    def through_both(b, x):
        whole = ew.cast(b, ew.cast(b, x, dtype=np.dtype("int64")), dtype=F64)
        return ew.add(b, ew.mul(b, x, ew.stop_gradient(b, x)), whole)

    (g,) = gradient_of(through_both, [3.0])
    np.testing.assert_array_equal(g, [3])


def test_a_value_that_is_input_and_output_or_output_twice_counts_each_time():
    b = Builder()
    x = b.input(spec((), "float64"))
    y = ew.mul(b, x, x)
    graph = vjp_graph(b.graph([x, y, y]), [0])
    assert interpret(graph, *map(np.float64, (3.0, 1.0, 10.0, 100.0)))[-1] == 1 + 6 * 110


def test_cotangents_of_intermediate_values_give_gradients_of_intermediate_values():
    b = Builder()
    x = b.input(spec((), "float64"))
    y = ew.sin(b, x)
    z = ew.mul(b, y, y)
    (gy,) = add_backward(b, list(b.nodes), {z: b.full_like(z, 1)}, [y])
    assert interpret(b.graph([gy]), np.float64(0.3)) == (2 * np.sin(0.3),)


def test_what_backward_adds_has_the_scope_and_source_of_its_cause_and_says_so():
    b = Builder()
    x = b.input(spec((2,), "float64"))
    with b.at(Origin("layers.0", "model.py:7")):
        y = ew.tanh(b, x)
    graph = vjp_graph(b.graph([y]), [0])
    assert graph.nodes[0].origin == Origin("layers.0", "model.py:7")
    assert {node.origin for node in graph.nodes[1:]} == {Origin("layers.0", "model.py:7", "backward")}


def test_the_text_of_a_gradient():
    graph = parse("""
        graph(%x: f64[3], %w: f64[3]) {
          %0: f64[3] = mul(%x, %w) scope="layer" at="model.py:3"
          %1: f64[] = reduce_sum(%0) {axes=(0,)} at="model.py:4"
          return "loss"=%1
        }""")
    assert (
        str(vjp_graph(graph, [1]))
        == """\
graph(%x: f64[3], %w: f64[3], %cotangent0: f64[]) {
  %0: f64[3] = mul(%x, %w) scope="layer" at="model.py:3"
  %1: f64[] = reduce_sum(%0) {axes=(0,)} at="model.py:4"
  %2: f64[3] = broadcast(%cotangent0) {shape=(3,), axes=()} at="model.py:4" backward
  %3: f64[3] = mul(%2, %w) scope="layer" at="model.py:3" backward
  %4: f64[3] = mul(%2, %x) scope="layer" at="model.py:3" backward
  return "loss"=%1, "cotangent of w"=%4
}"""
    )


# Checkpoints.


def chain(regions):
    """x -> tanh -> sin -> ... one node for each of `regions`, whose checkpoint it is."""
    b = Builder()
    x = value = b.input(spec((4,), "float64"), "x")
    for i, region in enumerate(regions):
        with b.at(Origin(checkpoint=region)):
            value = (ew.tanh, ew.sin, ew.exp)[i % 3](b, value)
            value = ew.mul(b, value, x)
    return b.graph([value])


def without_checkpoints(graph):
    b = Builder()
    mapping = {v: b.input(v.type) for v in graph.inputs}
    for node in graph.nodes:
        copied = b.copy(node, [mapping[v] for v in node.inputs], NOWHERE)
        mapping.update(zip(node.outputs, copied.outputs, strict=True))
    return b.graph([mapping[v] for v in graph.outputs])


@pytest.mark.parametrize(
    "regions",
    [
        ["1", "1", "1"],
        ["", "1", "1", "", "2", "2", "2", ""],
        ["1", "1/2", "1/2", "1"],
        ["1", "1/2", "1/2/3", "1/2/3", "1/2", "1", "1/4", "1/4", "", "5"],
        ["1/2", "1/2", "1/3", "1/3"],
    ],
)
def test_a_checkpoint_changes_no_bit_of_a_gradient_and_recomputes(regions):
    graph = chain(regions)
    x, u = np.random.default_rng(0).normal(size=(2, 4))
    marked, plain = vjp_graph(graph, [0]), vjp_graph(without_checkpoints(graph), [0])
    marked.verify()
    for one, other in zip(interpret(marked, x, u), interpret(plain, x, u), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(node.origin.role == "recompute" for node in marked.nodes)
    assert not any(node.origin.role == "recompute" for node in plain.nodes)
    forward = marked.nodes[: len(graph.nodes)]
    assert [node.origin.checkpoint for node in forward] == [node.origin.checkpoint for node in graph.nodes]
    assert not any(node.origin.checkpoint for node in marked.nodes[len(graph.nodes) :])


def test_backward_reads_of_the_forward_only_what_enters_a_region():
    graph = vjp_graph(chain(["", "1", "1", "", "2", "2"]), [0])
    inside = {v for node in graph.nodes for v in node.outputs if node.origin.checkpoint}
    boundary = {
        v
        for node in graph.nodes
        if node.origin.role == "forward"
        for v in node.inputs
        if v.node is None or v.node.origin.checkpoint != node.origin.checkpoint
    }
    later = [node for node in graph.nodes if node.origin.role != "forward"]
    read = {v for node in needed(graph) if node in set(later) for v in node.inputs}
    assert not read & (inside - boundary)


def needed(graph: Graph):
    """The nodes that an output depends on."""
    live, result = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if not live.isdisjoint(node.outputs):
            live.update(node.inputs)
            result.append(node)
    return result


def test_an_inner_region_is_recomputed_once_for_itself_and_once_for_the_outer_one():
    graph = chain(["1", "1/2", "1"])
    differentiated = vjp_graph(graph, [0])
    copies = [node for node in needed(differentiated) if node.origin.role == "recompute"]
    assert sum(node.op is ew.sin for node in copies) == 2
    assert sum(node.op is ew.tanh for node in copies) == 1


def test_random_bits_inside_a_region_are_drawn_again_and_are_the_same():
    b = Builder()
    x, key = b.input(spec((64,), "float64")), b.input(spec((), "int64"))
    with b.at(Origin(checkpoint="1")):
        drawn = OPS["random_bits"](b, key, shape=(64,), dtype=np.dtype("int64"), stream=3)
        mask = ew.cast(b, ew.gt(b, drawn, b.full_like(drawn, 0)), dtype=F64)
        y = ew.mul(b, ew.sin(b, x), mask)
    graph = b.graph([y])
    marked = vjp_graph(graph, [0])
    assert sum(node.op.name == "random_bits" for node in needed(marked)) == 2
    arrays = (np.linspace(-1, 1, 64), np.int64(9), np.ones(64))
    plain = interpret(vjp_graph(without_checkpoints(graph), [0]), *arrays)
    np.testing.assert_array_equal(interpret(marked, *arrays)[1], plain[1])


@pytest.mark.parametrize("region", ["", "1"])
def test_a_chain_of_5000_nodes_is_no_deeper_than_a_short_one_and_grows_by_a_constant(region):
    sizes = []
    for n in (500, 1_000, 5_000):
        b = Builder()
        value = b.input(spec((), "float64"))
        with b.at(Origin(checkpoint=region)):
            for _ in range(n):
                value = ew.sin(b, value)
        graph = vjp_graph(b.graph([value]), [0])
        sizes.append(len(graph.nodes) / n)
        if n == 5_000:
            graph.verify()
            text = str(graph)
            assert str(parse(text)) == text
            assert np.isfinite(interpret(graph, np.float64(1), np.float64(1))[1])
    assert max(sizes) - min(sizes) < 0.01
