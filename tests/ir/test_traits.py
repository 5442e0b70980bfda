"""What ops say of themselves to passes and the runtime, held against what they compute."""

import numpy as np
from gradloom.ir import OPS, Builder, Op, Recompute, is_float, spec
from op_cases import CASES, assert_matches, sample


def compute(case, arrays, attrs=None):
    with np.errstate(all="ignore"):
        return np.asarray(case.op.reference(*arrays, **(case.attrs if attrs is None else attrs)))


def test_an_op_that_declares_no_trait_is_treated_safely():
    plain = Op("plain", "reduction", lambda x: x, lambda x: x, lambda *_: 0, lambda *_: [])
    assert not any((plain.is_view, plain.is_stored, plain.is_identity, plain.accepts_strides, plain.is_axiswise))
    assert plain.can_trap
    assert plain.recompute is Recompute.NEVER
    assert plain.fusion == "never"
    assert plain.accumulates is plain.batch is plain.workspace is plain.moves_to is None
    assert plain.has_kernel
    assert not any((plain.is_reduction, plain.is_check))


def test_a_view_op_gives_a_window_onto_its_input():
    for case in (c for c in CASES if c.op.is_view):
        (x,) = sample(case)
        made = case.op.infer(*case.types, **case.attrs)
        if x.ndim and x.size and made.size:
            assert np.shares_memory(x, compute(case, [x])), case


def test_an_identity_op_gives_its_first_input():
    for case in (c for c in CASES if c.op.is_identity):
        arrays = sample(case)
        np.testing.assert_array_equal(compute(case, arrays), arrays[0])


def test_an_op_that_cannot_trap_takes_every_element():
    for case in (c for c in CASES if not c.op.can_trap):
        for end in (0, 1):
            arrays = []
            for i in case.inputs:
                dtype = i.type.dtype
                info = None if dtype.kind in "fb" else np.iinfo(dtype)
                ends = (np.nan, -np.inf) if is_float(dtype) else (False, True) if info is None else (info.min, info.max)
                arrays.append(np.full(i.type.shape, ends[end], dtype))
            compute(case, arrays)


def test_the_ops_that_can_trap_are_those_that_look_something_up_the_checks_and_factors():
    assert {name for name, op in OPS.items() if op.can_trap} == {
        "cholesky",
        "eig",
        "eigh",
        "solve",
        "svd",
        *(name for name, op in OPS.items() if op.family == "indexing"),
        *(name for name, op in OPS.items() if op.is_check),
    }


def test_the_batching_rule_computes_each_entry_by_itself():
    for case in (c for c in CASES if c.op.batch):
        rng = np.random.default_rng(3)
        entries = [sample(case, rng) for _ in range(3)]
        together = compute(case, list(map(np.stack, zip(*entries, strict=True))), case.op.batch(case.attrs, 3))
        assert_matches(case, together, np.stack([compute(case, arrays) for arrays in entries]))


def test_an_accumulating_op_adds_to_its_input():
    for case in (c for c in CASES if c.op.accumulates is not None):
        arrays = sample(case)
        onto = arrays[case.op.accumulates]
        assert (case.types[case.op.accumulates],) == tuple(v.type for v in case.graph().outputs)
        arrays[case.op.accumulates] = np.zeros_like(onto)
        alone = compute(case, arrays)
        arrays[case.op.accumulates] = onto
        np.testing.assert_allclose(compute(case, arrays), onto + alone, rtol=1e-5, atol=1e-5)


def test_an_axiswise_op_does_the_same_along_the_first_axis():
    for case in (c for c in CASES if c.op.is_axiswise):
        arrays, axis = sample(case), case.attrs["axis"]
        moved = compute(case, [np.moveaxis(a, axis, 0) for a in arrays], {**case.attrs, "axis": 0})
        np.testing.assert_array_equal(np.moveaxis(moved, 0, axis), compute(case, arrays))


def test_only_views_and_arrays_made_from_nothing_are_free_to_recompute():
    for name, op in OPS.items():
        if op.recompute is Recompute.FREE:
            assert op.is_view or (op.family == "creation" and not op.is_stored), name
        if op.recompute is Recompute.CHEAP:
            assert op.fusion in ("elementwise", "indexed"), name
            assert not op.can_trap, name


def test_what_is_fused_element_by_element_has_the_axes_of_its_inputs():
    for case in CASES:
        if case.op.fusion == "elementwise" and case.inputs:
            output = case.op.infer(*case.types, **case.attrs)
            every = list(range(output.ndim))
            assert [list(a) for a in case.op.axes(case.types, output, case.attrs)] == [every] * len(case.types), case


def test_a_node_can_trap_where_its_body_can():
    inside = Builder()
    table, at = inside.input(spec((3, 2))), inside.input(spec((4,), "int64"))
    inner = inside.graph([inside.emit(OPS["gather"], table, at, axis=0, batch=0)])
    b = Builder()
    inputs = [b.input(v.type) for v in inner.inputs]
    node = b.emit_node(OPS["region"], *inputs, body=inner, domain=(4, 2), rows=-1)
    assert inner.nodes[0].can_trap
    assert node.can_trap
    assert not node.op.can_trap
