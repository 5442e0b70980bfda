"""The sets of ops that passes keep by hand are those that the traits of the ops say."""

from gradloom.ir import OPS, Recompute
from gradloom.ir.ops.elementwise import CHECKS
from gradloom.passes import (
    batch,
    canonicalize,
    certificate_layouts,
    certificate_loops,
    certificate_values,
    cost,
    fuse,
    hoist,
    layout,
    loop_nest,
    prologue,
    rebuild,
    recompute,
    rerun_loops,
    views,
)


def those(trait):
    return {name for name, op in OPS.items() if trait(op)}


def test_views():
    found = those(lambda op: op.is_view)
    assert found == set(views.VIEW_OPS) == set(certificate_layouts.VIEWS)


def test_strides():
    assert those(lambda op: not op.accepts_strides) == canonicalize.NEEDS_CONTIGUOUS


def test_checks_and_traps():
    assert those(lambda op: op.is_check) == CHECKS
    assert those(lambda op: op.can_trap) == CHECKS | {"gather", "scatter_add"}
    assert those(lambda op: op.family == "indexing") == recompute._LOOK_UPS


def test_places():
    assert those(lambda op: op.fusion == "indexed" or op.is_check) == loop_nest.PLACED
    assert (
        those(lambda op: op.fusion == "indexed" or op.is_check or op.recompute is Recompute.NEVER)
        == prologue._MADE_ONCE
    )


def test_free():
    found = those(lambda op: op.recompute is Recompute.FREE and not op.is_view)
    assert found == fuse._FREE == set(certificate_loops._FREE)


def test_once():
    dead = {"custom", "all_reduce"}
    assert those(lambda op: op.recompute is Recompute.NEVER) == rerun_loops._ONCE - dead
    assert those(lambda op: op.recompute is Recompute.NEVER) | {"scatter_add"} == recompute._ONCE - dead


def test_identities():
    assert those(lambda op: op.is_identity) == certificate_values.PASSED_ON | {"stop_gradient"}


def test_slow():
    assert those(lambda op: op.is_transcendental) == cost.SLOW_OPS


def test_fusion():
    class Fake:
        def __init__(self, op):
            self.op = op

    assert those(lambda op: op.fusion in ("elementwise", "indexed", "reduction")) == those(
        lambda op: fuse._fusable(Fake(op))
    )
    assert those(lambda op: op.is_reduction) == those(lambda op: fuse._is_reduction(Fake(op)))
    assert those(lambda op: op.fusion == "reshaping") == those(lambda op: fuse._may_be_inside(Fake(op)))
    assert those(lambda op: op.recompute >= Recompute.CHEAP) == those(lambda op: rebuild.can_rebuild(Fake(op)))
    assert those(lambda op: op.recompute is Recompute.FREE) == those(lambda op: hoist._is_free(Fake(op)))
    assert those(lambda op: op.is_contraction) == those(lambda op: op.family in ("contraction", "convolution"))
    assert those(lambda op: op.is_reduction) == set(layout._REDUCTIONS)
    assert those(lambda op: op.batch) == (
        those(lambda op: op.is_elementwise or op.family == "reduction" or op.name in batch._ELEMENT_BY_ELEMENT)
        | {"dot", "gather", "scatter_add"}
    ) - {"moments"}
