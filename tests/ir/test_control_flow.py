"""The nodes `while_loop` and `cond`: what they compute, what they cost, what fits them, and their text."""

import numpy as np
import pytest
from gradloom.ir import OPS, TypeRuleError, interpret, node_flops, parse, spec
from gradloom.ir.verify import VerificationError

DOUBLING = """\
graph(%limit: f64[], %go: bool[], %x: f64[2]) {
  %0: bool[], %1: f64[2] = while_loop(%limit, %go, %x) {body=graph(%limit: f64[], %go: bool[], %x: f64[2]) {
      %0: f64[2] = add(%x, %x)
      %1: f64[] = reduce_sum(%0) {axes=(0,)}
      %2: bool[] = lt(%1, %limit)
      return %2, %0
    }, consts=1}
  return %0, %1
}"""

CHOICE = """\
graph(%p: bool[], %x: f64[2], %y: f64[2]) {
  %0: f64[2], %1: f64[2] = cond(%p, %x, %y) {true=graph(%x: f64[2], %y: f64[2]) {
      %0: f64[2] = add(%x, %y)
      return %0, %x
    }, false=graph(%x: f64[2], %y: f64[2]) {
      %0: f64[2] = mul(%x, %y)
      %1: f64[2] = mul(%0, %y)
      return %1, %y
    }}
  return %0, %1
}"""


@pytest.mark.parametrize("text", [DOUBLING, CHOICE])
def test_the_text_with_its_bodies_reads_back(text):
    graph = parse(text)
    graph.verify()
    assert str(graph) == text


@pytest.mark.parametrize(("go", "times", "last"), [(True, 4, False), (False, 0, False)])
def test_a_loop_runs_as_long_as_its_flag_is_true(go, times, last):
    flag, x = interpret(parse(DOUBLING), np.float64(30), np.bool_(go), np.array([1.0, 2.0]))
    np.testing.assert_array_equal(x, np.array([1.0, 2.0]) * 2**times)
    assert flag == last


def test_one_branch_runs():
    x, y = np.array([2.0, 3.0]), np.array([5.0, 7.0])
    true, false = (interpret(parse(CHOICE), np.bool_(p), x, y) for p in (True, False))
    np.testing.assert_array_equal(true, [x + y, x])
    np.testing.assert_array_equal(false, [x * y * y, y])


def test_the_cost_is_that_of_one_iteration_and_of_the_larger_branch():
    assert [node_flops(parse(text).nodes[0]) for text in (DOUBLING, CHOICE)] == [2 + 2 + 1, 2 + 2]


def test_a_node_traps_where_a_node_of_a_branch_does():
    lookup = parse("graph(%x: f64[3], %i: i64[2]) { %0: f64[2] = gather(%x, %i) {axis=0, batch=0} return %0 }")
    plain = parse("graph(%x: f64[3], %i: i64[2]) { %0: f64[2] = full() {value=1.0, shape=(2,), dtype=f64} return %0 }")
    for true, false, traps in ((plain, lookup, True), (lookup, plain, True), (plain, plain, False)):
        node = parse(
            f"graph(%p: bool[], %x: f64[3], %i: i64[2]) {{ %0: f64[2] = cond(%p, %x, %i) {{true={true}, "
            f"false={false}}} return %0 }}"
        ).nodes[0]
        assert node.can_trap is traps


BODY = parse("graph(%go: bool[], %x: f64[2]) { return %go, %x }")
FLAG, PAIR = spec((), "bool"), spec((2,), "float64")


@pytest.mark.parametrize(
    ("types", "attrs", "message"),
    [
        ((PAIR, FLAG), {"body": BODY, "consts": 0}, "the first input behind 0 consts is a bool"),
        ((spec((1,), "bool"), PAIR), {"body": BODY, "consts": 0}, r"is a bool\[\], got bool\[1\]"),
        ((FLAG, PAIR), {"body": BODY, "consts": 2}, "behind 2 consts"),
        ((FLAG, spec((3,), "float64")), {"body": BODY, "consts": 0}, r"the body takes bool\[\], f64\[2\]"),
        (
            (FLAG, PAIR),
            {"body": parse("graph(%go: bool[], %x: f64[2]) { return %go }"), "consts": 0},
            r"begin as bool\[\], f64\[2\], an iteration makes bool\[\] of them",
        ),
        (
            (FLAG, PAIR),
            {"body": parse("graph(%go: bool[], %x: f64[2]) { return %go, %x -> %x }"), "consts": 0},
            "writes its carries over the old ones, or nothing",
        ),
    ],
)
def test_a_loop_refuses_what_does_not_fit(types, attrs, message):
    with pytest.raises(TypeRuleError, match=message):
        OPS["while_loop"].infer(*types, **attrs)


ONE = parse("graph(%x: f64[2]) { return %x }")


@pytest.mark.parametrize(
    ("types", "false", "message"),
    [
        ((PAIR, PAIR), ONE, r"the first input is a bool\[\], got f64\[2\]"),
        ((FLAG, PAIR), parse("graph(%x: f64[3]) { return %x }"), r"the branch false takes f64\[3\], it is given"),
        (
            (FLAG, PAIR),
            parse("graph(%x: f64[2]) { return %x, %x }"),
            r"true makes f64\[2\], the branch false f64\[2\], f",
        ),
        ((FLAG, PAIR), parse("graph(%x: f64[2]) { return %x -> %x }"), "the branch false writes over its inputs"),
    ],
)
def test_a_choice_refuses_what_does_not_fit(types, false, message):
    with pytest.raises(TypeRuleError, match=message):
        OPS["cond"].infer(*types, true=ONE, false=false)


def test_the_verifier_looks_into_branches():
    graph = parse(CHOICE)
    branch = graph.nodes[0].attrs["false"]
    branch.nodes = branch.nodes[::-1]
    with pytest.raises(VerificationError, match="used before it is computed"):
        graph.verify()
