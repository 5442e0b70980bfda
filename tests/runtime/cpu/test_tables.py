"""Tables: the words that the driver reads for each kind of argument of a launch, and barriers between stages."""

from gradloom.ir import OPS, Builder, spec
from gradloom.passes.memory.plan import plan
from gradloom.passes.pipeline import run_passes
from gradloom.runtime.cpu import blas
from gradloom.runtime.cpu.program import CONSTANT, POINTER, TILE
from gradloom.runtime.cpu.tables import Tables
from gradloom.runtime.lowering import launch_list
from gradloom.runtime.lowering.launch import TILE as THE_TILE
from gradloom.runtime.lowering.launch import Call, KernelAddress, Launch, Pointer, Routine, Scratch, Traps

KERNELS = {"one": 111, "other": 222}


def tables(*stages: list[Launch]) -> dict:
    """Tables of a plan with one input and one output, of one unit with these stages."""
    b = Builder()
    made = plan(run_passes(b.graph([b.emit(OPS["exp"], b.input(spec((3,), "float32")))])), 2)
    unit = [
        [
            Launch(each.tiles, [Call(c.source, [located(arg, made) for arg in c.args]) for c in each.calls])
            for each in stage
        ]
        for stage in stages
    ]
    return Tables(launch_list.LaunchList(made, Traps(), [[unit]]), KERNELS).arrays()


def located(arg, made):
    """`input` and `output` as pointers to those of the graph, 4 bytes in."""
    graph = made.graph
    return Pointer({"input": graph.inputs, "output": graph.outputs}[arg][0], 4) if isinstance(arg, str) else arg


def test_each_kind_of_argument_is_a_word_of_its_own():
    args = [7, THE_TILE, "input", "output", Scratch(64, 128, -32), KernelAddress("other"), Routine("sgemm")]
    found = tables([Launch(5, [Call("one", args)])])
    assert found["calls"].tolist() == [[111, 0, 7]]
    assert found["args"].tolist() == [
        [CONSTANT, 7, 0, 0, 0, 0, 0],
        [TILE, 0, 0, 0, 0, 0, 0],
        [POINTER, 1, 4, 0, 0, 0, 0],  # the arena is base 0, the input base 1, the output base 2
        [POINTER, 2, 4, 0, 0, 0, 0],
        [POINTER, 0, 64, -32, 128, 0, 0],
        [CONSTANT, 222, 0, 0, 0, 0, 0],
        [CONSTANT, blas.pointer("sgemm"), 0, 0, 0, 0, 0],
    ]


def test_the_first_launch_of_a_stage_has_the_barrier():
    once, twice = Call("one", []), Call("other", [])
    found = tables([Launch(3, [once, twice]), Launch(2, [once])], [Launch(1, [twice])])
    assert found["launches"].tolist() == [[3, 1, 0, 2, 0, 0], [2, 0, 2, 1, 0, 0], [1, 1, 3, 1, 0, 0]]
    assert found["calls"][:, 0].tolist() == [111, 222, 111, 222]
