"""Convolutions by cuDNN, by a stand-in that convolves as its graphs say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from compiled import run_executable
from fake_cudnn import ENUMS, FakeCudnn, Graph, Tensor, numerical_note
from gpu_libraries import LIBRARY_TARGET, program
from gradloom.ir import Builder, interpret, spec
from gradloom.ir import Graph as IrGraph
from gradloom.ir.ops.convolution import conv, conv_add, conv_weight_gradient
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cuda.convolutions import MODULE, Convolutions
from gradloom.runtime.lowering.launch import Launch
from gradloom.runtime.lowering.launch_list import lower
from gradloom.runtime.lowering.library_call import ConvolutionCall
from op_cases import CASES
from op_programs import plain, wrong_rows

ROWS = [case for case in CASES if case.op.family == "convolution" and case.types[0].dtype == np.float32]
RNG = np.random.default_rng(8)


def attrs(axes: int, groups: int, **windows: Any) -> dict[str, Any]:
    given = {"stride": 1, "low": 0, "high": 0, "dilation": 1, "expand": 1, **windows}
    return {
        **{name: (given[name],) * axes for name in ("stride", "low", "high", "dilation", "expand")},
        "groups": groups,
    }


def convolution(x: tuple[int, ...], w: tuple[int, ...], gradient: bool = False, **windows: Any) -> IrGraph:
    of = attrs(len(x) - 2, x[-1] // w[1], **windows)
    b = Builder()
    made = conv(b, b.input(spec(x), "x"), b.input(spec(w), "w"), **of)
    if not gradient:
        return b.graph([made])
    b = Builder()
    images, cotangent = b.input(spec(x), "x"), b.input(spec(made.type.shape), "g")
    return b.graph([conv_weight_gradient(b, images, cotangent, kernel=w[2:], **of)])


def calls_of(graph: IrGraph, **told: Any) -> list[ConvolutionCall]:
    plan = plan_graph(graph, target=replace(LIBRARY_TARGET, **told))
    check_plan(plan)
    items = [item for phase in lower(plan).phases for unit in phase for stage in unit for item in stage]
    return [item for item in items if isinstance(item, ConvolutionCall)]


def assert_right(graph: IrGraph, kinds: list[str]) -> None:
    built = program(graph)
    arrays = [RNG.normal(size=v.type.shape).astype(np.float32) for v in graph.inputs]
    (found,) = run_executable(built, graph, arrays)[0]
    np.testing.assert_allclose(found, interpret(graph, *arrays)[0], 1e-4, 1e-4)
    assert [call.kind for call in built.calls if isinstance(call, ConvolutionCall)] == kinds


@pytest.mark.slow
def test_every_row_of_convolutions_is_right_by_the_library():
    assert not wrong_rows(plain, ROWS, lambda graph, *arrays: run_executable(program(graph), graph, arrays)[0])


@pytest.mark.parametrize(
    ("graph", "kind"),
    [
        (convolution((2, 7, 6, 4), (5, 4, 3, 3), low=1, high=1), "forward"),
        (convolution((2, 8, 8, 4), (6, 2, 3, 2), stride=2, dilation=2), "forward"),
        (convolution((2, 9, 4), (5, 4, 3), low=1, high=1), "forward"),
        (convolution((1, 4, 5, 6, 2), (3, 2, 2, 3, 1)), "forward"),
        (convolution((2, 4, 4, 6), (4, 3, 3, 3), expand=2, low=1, high=2), "data_gradient"),
        (convolution((2, 7, 6, 4), (6, 2, 3, 2), gradient=True, stride=2, low=1, high=1), "filter_gradient"),
    ],
)
def test_each_kind_is_one_call(graph: IrGraph, kind: str):
    assert_right(graph, [kind])


@pytest.mark.parametrize(
    "graph",
    [
        convolution((2, 7, 6, 4), (5, 4, 3, 3), low=2, high=0),
        convolution((2, 7, 6, 4), (5, 4, 3, 3), low=-1, high=-1, stride=2),
        convolution((2, 7, 6, 4), (5, 4, 3, 3), gradient=True, expand=2),
        convolution((0, 7, 6, 4), (5, 4, 3, 3)),
    ],
)
def test_what_the_library_has_no_words_for_is_our_own(graph: IrGraph):
    assert_right(graph, [])


def test_convolutions_of_one_place_are_products():
    assert not calls_of(convolution((2, 7, 6, 4), (5, 4, 1, 1)))
    (call,) = calls_of(convolution((2, 7, 6, 4), (5, 4, 1, 1), stride=2))
    assert (call.filters_shape, call.stride) == ((5, 1, 1, 4), (2, 2))


def test_what_is_added_to_is_part_of_the_call():
    b = Builder()
    x, w = b.input(spec((2, 6, 6, 3)), "x"), b.input(spec((4, 3, 3, 3)), "w")
    made = conv_add(b, x, w, b.input(spec((2, 4, 4, 4)), "z"), **attrs(2, 1))
    assert_right(b.graph([made]), ["forward"])


def test_a_plan_is_made_once_and_leaves_out_engines_of_other_bits():
    graph = convolution((2, 7, 6, 4), (5, 4, 3, 3))
    for precision, refused in (("fp32", True), ("tf32", False)):
        (call,) = calls_of(graph, precision=precision)
        fake = FakeCudnn()
        library = Convolutions(fake)
        assert library.supports(call)
        assert library.supports(replace(call, images=call.results))
        (made,) = fake.graphs
        assert (numerical_note.TENSOR_CORE in made.unwanted) == refused
        assert numerical_note.NONDETERMINISTIC in made.unwanted
        assert made.workspace == call.workspace_bytes == 3072
        library.close()
        assert fake.handles == 0


def test_without_an_engine_own_kernels_run_in_the_same_memory():
    (call,) = calls_of(graph := convolution((2, 7, 6, 4), (5, 4, 3, 3)))
    library = Convolutions(FakeCudnn(knows=False))
    assert not library.supports(call)
    with pytest.raises(RuntimeError, match=r"cuDNN has no plan for forward of \(2, 7, 6, 4\) by \(5, 3, 3, 4\)"):
        library.prepare(call, lambda at: 256)
    plan = plan_graph(graph, target=LIBRARY_TARGET)
    items = [i for phase in lower(plan, supports=library.supports).phases for unit in phase for s in unit for i in s]
    assert all(isinstance(item, Launch) for item in items)


@pytest.mark.cuda
def test_the_stand_in_has_the_names_of_the_real_library():
    real: Any = pytest.importorskip(MODULE)
    for enum in ENUMS:
        assert set(enum.__members__) <= set(getattr(real, enum.__name__).__members__)
    assert all(hasattr(real.tensor, name) for name in vars(Tensor) if name.startswith("set_"))
    methods = [name for name in vars(Graph) if not name.startswith("_")]
    methods += ["validate", "build_operation_graph", "create_execution_plans", "check_support", "build_plans"]
    assert all(hasattr(real.pygraph, name) for name in methods)
    assert all(hasattr(real, name) for name in ("create_handle", "destroy_handle", "set_stream"))
    assert issubclass(real.cudnnGraphNotSupportedError, Exception)
