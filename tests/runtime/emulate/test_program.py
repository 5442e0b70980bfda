"""Whole plans for a GPU in the emulator: ops of the table, loops, branches, traps, and the protocol of a backend."""

from dataclasses import replace

import gradloom as gl
import numpy as np
import pytest
from compiled import run_compiled
from gpu_emulated import run_emulated
from gpu_target import GPU_TARGET, gpu_plan
from gradloom import nn, optim
from gradloom import numpy as gnp
from gradloom.ir import OPS, Builder, interpret, is_float, spec
from gradloom.nn import functional as F
from gradloom.passes.memory.plan import plan
from gradloom.runtime.backend import backend_of
from gradloom.runtime.cpu.executable import allocate
from gradloom.runtime.emulate import program as emulated_program
from gradloom.runtime.emulate.accesses import Accesses, conflict
from gradloom.runtime.emulate.launch import KernelFault
from gradloom.runtime.emulate.program import EmulatedProgram
from gradloom.runtime.lowering.launch import Call, Pointer
from op_cases import CASES, CPU_ONLY
from op_programs import plain, wrong_rows

ROWS = {op: [case for case in CASES if case.name == op] for op in OPS}
ROWS = {op: rows for op, rows in ROWS.items() if rows and op not in CPU_ONLY}
# A row of each kind: parts of sums, shared memory, shuffles, products, traps, strides, one thread, functions of NumPy.
SAMPLE = ("reduce_sum", "argmax", "softmax", "dot", "conv", "gather", "scatter_add", "sort", "concatenate", "atan2")


@pytest.mark.parametrize("op", [op for op in SAMPLE if op in ROWS])
def test_ops_compute_what_the_interpreter_does_and_meet_no_fault(op):
    rows = ROWS[op]
    assert not wrong_rows(plain, rows[:: max(1, len(rows) // 8)], run_emulated)


@pytest.mark.slow
@pytest.mark.parametrize("op", sorted(ROWS))
def test_every_row_computes_what_the_interpreter_does_and_meets_no_fault(op):
    assert not wrong_rows(plain, ROWS[op], run_emulated)


# A CPU takes these from the C library, a GPU has functions of its own for them: see `codegen/gpu_math.py`.
OF_THE_C_LIBRARY = {"asin", "acos", "atan", "atan2", "sinh", "cosh", "asinh", "acosh", "atanh"}
ELEMENTWISE = [case for case in CASES if case.op.is_elementwise and case.name not in OF_THE_C_LIBRARY]


@pytest.mark.parametrize("every", [24, pytest.param(1, marks=pytest.mark.slow)])
def test_element_wise_ops_have_the_bits_of_a_cpu(every):
    program = plain(ELEMENTWISE[::every])
    graph = program.b.graph(program.outputs)
    pairs = zip(run_emulated(graph, *program.arrays), run_compiled(graph, *program.arrays), strict=True)
    differ = [str(case) for case, pair in zip(program.rows, pairs, strict=True) if len({*map(bits, pair)}) > 1]
    assert not differ


def bits(array):
    """The bytes of an array, in which every NaN is the same one."""
    return np.where(array != array, np.nan, array).tobytes() if is_float(array.dtype) else array.tobytes()


def loops(x, w):
    def body(carry, row):
        new = np.tanh(carry @ w + row)
        return new, new.sum()

    last, sums = gl.scan(body, x[0], x)
    back, rows = gl.scan(body, last, x, reverse=True)
    count, doubled = gl.while_loop(lambda c: c[0] < 5, lambda c: (c[0] + 1, c[1] * 2), (np.int64(0), back))
    either = gl.cond(sums.sum() > 0, lambda v: v + 1, lambda v: v - 1, doubled)
    return sums, rows, count, either


@pytest.mark.parametrize("checked", [False, True])
def test_loops_and_branches(checked):
    x, w = np.random.default_rng(0).standard_normal((2, 6, 6)).astype(np.float32)
    for sign in (1, -1):
        graph = gl.trace(loops, x, w)
        results = run_emulated(graph, sign * x, w, checked=checked)
        for actual, wanted in zip(results, interpret(graph, sign * x, w), strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-4)


def test_two_runs_give_the_same_bits():
    x = np.random.default_rng(1).standard_normal((70, 90)).astype(np.float32)
    graph = gl.trace(lambda x: (np.exp(x - x.max(axis=1, keepdims=True)).sum(axis=0), x @ x.T), x)
    for one, two in zip(run_emulated(graph, x), run_emulated(graph, x, checked=False), strict=True):
        assert one.tobytes() == two.tobytes()


def test_a_run_that_ends_in_a_trap_says_what_a_cpu_says():
    graph = gl.trace(lambda x, at: gnp.take(x, at, axis=0), gl.spec((4, 2)), gl.spec((3,), "int64"))
    with pytest.raises(IndexError, match="out of range for 4 entries"):
        run_emulated(graph, np.ones((4, 2), np.float32), np.array([0, 4, 1]))


def test_a_program_runs_through_the_protocol():
    x = np.random.default_rng(2).standard_normal((5, 7)).astype(np.float32)
    graph = gl.trace(lambda x: np.tanh(x).sum(axis=0), x)
    target = replace(GPU_TARGET, device="cuda-emulated")
    backend = backend_of(target)
    program = backend.build(gpu_plan(graph))
    assert len(program.kernels) == len(program.kernel_users) >= 1
    memory = backend.allocate(program.arena_bytes)
    program.use_arena(memory)
    result, bound = np.empty(7, np.float32), np.empty(7, np.float32)
    program.run([x], [result])
    np.testing.assert_allclose(result, np.tanh(x).sum(axis=0), rtol=1e-5, atol=1e-6)
    program.bind_input(0, x)
    program.bind_output(0, bound)
    program.run()
    np.testing.assert_array_equal(bound, result)


def test_a_training_step_computes_what_the_cpu_does():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((9, 6)).astype(np.float32), rng.integers(0, 4, 9)
    wrong = np.where(np.arange(9) == 5, 4, y)
    trained = {}
    for target in ("cpu", "cuda-emulated"):
        model = nn.Sequential(nn.Linear(6, 40), nn.LayerNorm(40), nn.GELU(), nn.Dropout(0.2), nn.Linear(40, 4))
        step = gl.compile_step(
            model,
            lambda m, batch: F.cross_entropy(m(batch[0]), batch[1]),
            optim.AdamW(0.01),
            (gl.spec(x.shape), gl.spec(y.shape, y.dtype)),
            target=target,
        )
        losses = [float(step((x, y))) for _ in range(3)]
        trained[target] = [losses, *(np.array(p) for p in step.state_dict().values())]
        with pytest.raises(IndexError, match="out of range for 4 entries"):
            step((x, wrong))
        for before, now in zip(trained[target][1:], step.state_dict().values(), strict=True):
            np.testing.assert_array_equal(before, np.asarray(now))
    for one, other in zip(*trained.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_outputs_that_stay_in_the_arena_are_read_there():
    x = np.arange(6, dtype=np.float32)
    graph = gl.trace(lambda x: x * 2, x)
    planned = plan(gpu_plan(graph).graph, 3, outputs_in_arena=True, target=GPU_TARGET)
    program = EmulatedProgram(planned, allocate(planned.arena_bytes))
    program.run([x])
    np.testing.assert_array_equal(program.output_in_arena(0), 2 * x)


def test_a_fault_names_the_op_of_its_kernel():
    b = Builder()
    x = b.input(spec((40,)), "x")
    graph = b.graph([OPS["add"](b, x, x)])
    program = EmulatedProgram(gpu_plan(graph), allocate(1 << 12))
    (launch,) = (launch for unit in program._lowered.phases[0] for stage in unit for launch in stage)
    wrong = "def kernel(b):\n    y = array_f32(word(b, 0), 0)\n    y[40] = 1.0\n"
    launch.calls[0] = Call(wrong, [arg for arg in launch.calls[0].args if not isinstance(arg, int)])
    with pytest.raises(KernelFault, match="writes element 40 of array 0") as caught:
        program.run([np.ones(40, np.float32)], [np.ones(40, np.float32)])
    assert any("The kernel is that of" in note for note in caught.value.__notes__)


def test_launches_that_may_run_at_the_same_time_may_not_write_what_the_other_accesses():
    x = np.random.default_rng(4).standard_normal((6, 6)).astype(np.float32)

    def beside_a_loop(x, w):
        last, _ = gl.scan(lambda carry, row: (np.tanh(carry @ w + row), row), x[0], x)
        return last, x[1] @ w, np.sort(x, axis=0)

    planned = gpu_plan(gl.trace(beside_a_loop, x, x))
    program = EmulatedProgram(planned, allocate(planned.arena_bytes))
    outputs = [np.empty(6, np.float32), np.empty(6, np.float32), np.empty_like(x)]
    program.run([x, x], outputs)
    np.testing.assert_allclose(outputs[1], x[1] @ x, rtol=1e-5, atol=1e-5)

    (_, product) = next(phase for phase in program._lowered.phases if len(phase) == 2)
    carry = planned.graph.outputs[0]
    for launch in (launch for stage in product for launch in stage):
        (call,) = launch.calls
        args = [Pointer(carry) if isinstance(arg, Pointer) and arg.value.node else arg for arg in call.args]
        launch.calls[0] = Call(call.source, args)
    words = r"race between launches: that of (dot|scan) .* writes byte .* of output 0, which that of .*same time"
    with pytest.raises(KernelFault, match=words) as caught:
        program.run([x, x], outputs)
    assert (caught.value.kind, caught.value.block) == ("race", None)


def test_intervals_of_bytes_have_a_byte_in_common_or_not():
    rng = np.random.default_rng(0)
    for _ in range(200):
        sets = [[(a, a + n) for a, n in rng.integers(1, 9, (rng.integers(0, 4), 2)) * [4, 1]] for _ in range(4)]
        one, other = (Accesses(*([np.array(s).reshape(-1, 2)] for s in sets[i : i + 2])) for i in (0, 2))
        reads, writes = ([{k for a, b in sets[i] for k in range(a, b)} for i in at] for at in ((0, 2), (1, 3)))
        meets = (writes[0] & (reads[1] | writes[1])) | (writes[1] & reads[0])
        found = conflict([one, other])
        assert found[2] in meets if meets else found is None


@pytest.mark.parametrize(("mode", "checked"), [("", True), ("checked", True), ("fast", False)])
def test_the_environment_says_whether_accesses_are_checked(mode, checked, monkeypatch):
    monkeypatch.setenv("GRADLOOM_EMULATOR", mode)
    asked = []
    real = emulated_program.emulated_kernel

    def noted(source, checked):
        asked.append(checked)
        return real(source, checked=checked)

    monkeypatch.setattr(emulated_program, "emulated_kernel", noted)
    assert gl.compile(lambda x: x + 1, target="cuda-emulated")(np.zeros(3)).sum() == 3
    assert set(asked) == {checked}


def test_a_mode_that_there_is_not_is_refused_with_those_that_there_are(monkeypatch):
    monkeypatch.setenv("GRADLOOM_EMULATOR", "slow")
    with pytest.raises(gl.TargetError, match="'slow' is no mode of the emulator; write GRADLOOM_EMULATOR=fast or"):
        gl.compile(lambda x: x + 1, target="cuda-emulated")
