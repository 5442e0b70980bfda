"""The node `scan`: what it computes, what it costs, what fits it, and its text at any depth."""

import numpy as np
import pytest
from gradloom.ir import OPS, Builder, TypeRuleError, interpret, node_flops, parse, spec
from gradloom.ir.ops import elementwise as ew

RUNNING_SUM = """\
graph(%w: f64[2], %s: f64[2], %x: f64[4,2]) {{
  %0: f64[2], %1: f64[4,2] = scan(%w, %s, %x) {{body=graph(%w: f64[2], %s: f64[2], %x: f64[2]) {{
      %0: f64[2] = mul(%w, %x)
      %1: f64[2] = add(%s, %0)
      return %1, %s
    }}, consts=1, carries=1, length=4, reverse={reverse}}}
  return %0, %1
}}"""


def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=2), rng.normal(size=2), rng.normal(size=(4, 2))


def test_a_step_takes_the_carry_of_the_step_before():
    w, s, x = arrays()
    total, before = interpret(parse(RUNNING_SUM.format(reverse=False)), w, s, x)
    sums = s + np.cumsum(w * x, axis=0)
    np.testing.assert_allclose(total, sums[-1])
    np.testing.assert_allclose(before, [s, *sums[:-1]])


def test_in_reverse_the_last_step_comes_first_and_each_result_stays_with_its_step():
    w, s, x = arrays()
    total, before = interpret(parse(RUNNING_SUM.format(reverse=True)), w, s, x)
    sums = s + np.cumsum((w * x)[::-1], axis=0)
    np.testing.assert_allclose(total, sums[-1])
    np.testing.assert_allclose(before, [s, *sums[:-1]][::-1])


@pytest.mark.parametrize("reverse", [False, True])
def test_the_text_with_its_body_reads_back(reverse):
    text = RUNNING_SUM.format(reverse=reverse)
    graph = parse(text)
    graph.verify()
    assert str(graph) == text


def test_no_steps_leave_the_carries_and_give_empty_results():
    text = RUNNING_SUM.format(reverse=False).replace("[4,2]", "[0,2]").replace("length=4", "length=0")
    w, s, _ = arrays()
    total, before = interpret(parse(text), w, s, np.zeros((0, 2)))
    np.testing.assert_array_equal(total, s)
    assert before.shape == (0, 2)


def test_the_cost_is_that_of_all_steps():
    (node,) = parse(RUNNING_SUM.format(reverse=False)).nodes
    assert node_flops(node) == 4 * (2 + 2)


def nested(depth):
    """A scan of two steps in a scan of two steps ...: the innermost doubles its carry."""
    b = Builder()
    x = b.input(spec((), "float64"), "x")
    if depth:
        body = nested(depth - 1)
        y = b.emit(OPS["scan"], x, body=body, consts=0, carries=1, length=2, reverse=False)
    else:
        y = ew.add(b, x, x)
    return b.graph([y])


def test_loops_nest_to_any_depth():
    graph = nested(4)
    graph.verify()
    text = str(graph)
    assert text.count("scan(") == 4
    again = parse(text)
    again.verify()
    assert str(again) == text
    assert interpret(again, np.array(1.0)) == (2.0**16,)
    assert graph.flops() == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"consts": 0}, r"a sequence of 4 steps has a leading axis of that length, got f64\[2\]"),
        ({"consts": 2, "carries": 2}, "3 inputs are no 2 consts and 2 carries"),
        ({"carries": -1}, "3 inputs are no 1 consts and -1 carries"),
        ({"length": 3}, r"a sequence of 3 steps has a leading axis of that length, got f64\[4,2\]"),
        ({"length": -4}, "the length -4 is negative"),
        ({"consts": 1, "carries": 2}, r"a step gives it f64\[2\], f64\[2\], f64\[4,2\]"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    (node,) = parse(RUNNING_SUM.format(reverse=False)).nodes
    types = [v.type for v in node.inputs]
    with pytest.raises(TypeRuleError, match=message):
        node.op.infer(*types, **{**node.attrs, **change})


def test_a_carry_that_changes_its_type_is_refused():
    b = Builder()
    x = b.input(spec((2,), "float64"))
    body = b.graph([ew.cast(b, x, dtype=np.dtype("float32"))])
    with pytest.raises(TypeRuleError, match=r"the carries begin as f64\[2\], a step makes f32\[2\] of them"):
        OPS["scan"].infer(x.type, body=body, consts=0, carries=1, length=3, reverse=False)


def test_a_body_that_writes_to_its_inputs_is_refused():
    b = Builder()
    x, y = b.input(spec((2,), "float64")), b.input(spec((2,), "float64"))
    body = b.graph([ew.neg(b, x), y], {0: 1, 1: 0})
    with pytest.raises(TypeRuleError, match="a body writes its carries over the old ones"):
        OPS["scan"].infer(x.type, y.type, body=body, consts=0, carries=2, length=3, reverse=False)


def test_a_bad_body_is_refused_with_its_node():
    text = RUNNING_SUM.format(reverse=False).replace("%0: f64[2] = mul", "%0: f64[3] = mul")
    with pytest.raises(AssertionError, match=r"> %0: f64\[3\] = mul\(%w, %x\)"):
        parse(text).verify()
