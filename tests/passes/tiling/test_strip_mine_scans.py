"""Loops over time in segments: what stands around a loop stands for one segment, and the numbers are the same."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from compiled import run_executable
from gradloom import nn
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import Graph, interpret, verify
from gradloom.passes.memory.plan import Plan, plan
from gradloom.passes.pipeline import passed, preparation, scheduling
from gradloom.passes.remat.checkpoint_scans import CheckpointScans
from gradloom.passes.tiling.strip_mine_scans import StripMineScans
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import Executable

STEPS, BATCH, WIDTH = 64, 4, 8


def prepared(graph: Graph, steps: int) -> Graph:
    """The graph before scheduling, its loops over time in segments of so many steps."""
    done = passed(
        graph, [StripMineScans(steps) if isinstance(step, StripMineScans) else step for step in preparation()]
    )
    verify(done)
    return done


def plan_of(graph: Graph, threads: int = 2) -> Plan:
    made = plan(passed(graph, scheduling()), threads, outputs_in_arena=True)
    check_plan(made)
    return made


def arrays_for(graph: Graph) -> list[Any]:
    rng = np.random.default_rng(1)
    made = (
        0.3 * rng.standard_normal(v.type.shape) if v.type.dtype.kind == "f" else rng.integers(0, 3, v.type.shape)
        for v in graph.inputs
    )
    return [np.asarray(array).astype(v.type.dtype) for array, v in zip(made, graph.inputs)]


def loops(graph: Graph) -> list[Any]:
    """The lengths of loops, with those of the loops within."""
    return [(n.attrs["length"], loops(n.attrs["body"])) for n in graph.nodes if n.op.name == "scan"]


class Words(nn.Module):
    def __init__(self, kind: type[Any], layers: int, both: bool) -> None:
        self.words = nn.Embedding(11, WIDTH)
        dropout = 0.3 if layers > 1 else 0.0
        self.cells = kind(WIDTH, WIDTH, num_layers=layers, bidirectional=both, dropout=dropout, batch_first=True)
        self.out = nn.Linear(self.cells.output_size * self.cells.directions, 3)

    def forward(self, words: Any) -> Any:
        return self.out(nn.functional.dropout(self.cells(self.words(words))[0], 0.5))


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["words"]).reshape(-1, 3), batch["next"].reshape(-1))


def step_of(*model: Any, steps: int = STEPS) -> Graph:
    batch = {name: gl.spec((BATCH, steps), "int64") for name in ("words", "next")}
    return trace_step(Words(*model), loss_fn, gl.optim.SGD(0.1), batch).graph


RECURRENT = [
    ((nn.LSTM, 2, False), [2, 2]),
    ((nn.LSTM, 1, False), [1, 1]),
    ((nn.GRU, 2, True), [1, 2, 1, 1, 2, 1]),
    ((nn.RNN, 3, False), [3, 3]),
]


@pytest.mark.parametrize(("model", "together"), RECURRENT)
def test_layers_run_in_the_same_segments_with_the_same_numbers(model: Any, together: list[int]):
    graph = step_of(*model)
    cut = prepared(graph, 8)
    assert loops(cut) == [(8, [(8, [])] * count) for count in together]
    arrays = arrays_for(graph)
    for found, wanted in zip(interpret(cut, *arrays), interpret(graph, *arrays)):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("model", "together"), RECURRENT)
def test_steps_that_are_left_over_run_beside_the_segments(model: Any, together: list[int]):
    graph = step_of(*model, steps=STEPS + 3)
    cut, found = prepared(graph, 8), []
    for length, inside in loops(cut):
        if inside:
            assert (length, inside) == (8, [(8, [])] * len(inside))
            found.append(len(inside))
        else:
            assert length == 3
    assert found == together
    assert len(loops(cut)) == len(together) + sum(together)
    arrays = arrays_for(graph)
    for x, wanted in zip(interpret(cut, *arrays), interpret(graph, *arrays)):
        np.testing.assert_allclose(x, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [STEPS, STEPS + 7])
@pytest.mark.parametrize("model", [model for model, _ in RECURRENT[::2]])
def test_segments_that_run_again_give_the_same_bits_in_less_memory(model: Any, steps: int):
    graph = step_of(*model, steps=steps)
    cut, arrays = prepared(graph, 8), arrays_for(graph)
    assert plan_of(cut).arena_bytes < plan_of(prepared(graph, 0)).arena_bytes
    wanted = [x.tobytes() for x in interpret(cut, *arrays)]
    held = [plan_of(cut).arena_bytes]
    for share in (0.5, 1.0):
        again = passed(cut, [CheckpointScans(share=share)])
        assert [x.tobytes() for x in interpret(again, *arrays)] == wanted
        held.append(plan_of(again).arena_bytes)
    assert held[1] < 0.9 * held[0]
    assert held[2] < 0.65 * held[0]


@pytest.mark.parametrize("steps", [STEPS, STEPS + 1, STEPS + 5])
def test_the_bits_do_not_depend_on_threads_or_on_what_runs_again(steps: int):
    graph = step_of(nn.LSTM, 2, False, steps=steps)
    cut, arrays = prepared(graph, 8), arrays_for(graph)
    again = [
        passed(cut, way) for way in ([CheckpointScans()], [CheckpointScans(share=0.5), CheckpointScans(products=True)])
    ]
    made = [plan_of(cut, 1), plan_of(cut, 2), plan_of(cut, 4), *map(plan_of, again)]
    found = [[x.tobytes() for x in run_executable(Executable(p), graph, arrays)[0]] for p in made]
    assert all(bits == found[0] for bits in found)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_segments_that_run_again_may_keep_what_products_made(kind: type[Any]):
    graph = step_of(kind, 1, False)
    cut, arrays = prepared(graph, 8), arrays_for(graph)
    again = passed(cut, [CheckpointScans(products=True)])
    assert [x.tobytes() for x in interpret(again, *arrays)] == [x.tobytes() for x in interpret(cut, *arrays)]
    whole, less = plan_of(cut), plan_of(again)
    assert less.arena_bytes < whole.arena_bytes
    products = [sum(part.startswith("dot") for part in str(p.graph).split("= ")) for p in (whole, less)]
    assert products[0] == products[1] > 0


def recurrence(length: int, reverse: bool = False, start_of_second: bool = False, again: bool = False) -> Graph:
    """The gradients of two loops, the second over what the first makes; it may begin where the first ends, and both run
    `again` for their backward.
    """

    def loss(w: Any, u: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = np.tanh(h @ u + x)
            return h, h

        zeros = np.zeros((BATCH, WIDTH), "float32")
        last, hs = gl.scan(step, zeros, xs @ w, reverse=reverse)
        _, hs = gl.scan(step, last if start_of_second else zeros, np.sin(hs) @ w, reverse=reverse)
        return np.mean(hs**2)

    specs = [gl.spec(shape, "float32") for shape in ((WIDTH, WIDTH), (WIDTH, WIDTH), (length, BATCH, WIDTH))]
    return gl.trace(gl.value_and_grad(gl.checkpoint(loss) if again else loss, argnums=(0, 1, 2)), *specs)


@pytest.mark.parametrize(("reverse", "left"), [(False, 0), (True, 0), (True, 6)])
def test_loops_that_users_write_run_in_segments(reverse: bool, left: int):
    graph = recurrence(STEPS + left, reverse)
    cut, arrays = prepared(graph, 8), arrays_for(graph)
    assert [loop for loop in loops(cut) if loop[1]] == [(8, [(8, []), (8, [])])] * 2
    for found, wanted in zip(interpret(cut, *arrays), interpret(graph, *arrays)):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("left", [0, 5])
def test_loops_that_run_again_make_their_products_again_segment_by_segment(left: int):
    graph = recurrence(STEPS + left, again=True)
    cut, arrays = prepared(graph, 8), arrays_for(graph)
    assert [loop for loop in loops(cut) if loop[1]] == [(8, [(8, []), (8, [])])] * 3
    wide = (STEPS + left, BATCH, WIDTH)
    assert not any(n.op.name == "dot" and n.output.type.shape == wide for n in cut.nodes)
    for found, wanted in zip(interpret(cut, *arrays), interpret(graph, *arrays)):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_a_loop_that_waits_for_another_has_segments_of_its_own():
    graph = recurrence(STEPS, start_of_second=True)
    cut, arrays = prepared(graph, 8), arrays_for(graph)
    assert loops(cut) == [(8, [(8, [])])] * 4
    for found, wanted in zip(interpret(cut, *arrays), interpret(graph, *arrays)):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_a_long_chain_before_a_loop_is_not_made_again():
    def loss(w: Any, xs: Any) -> Any:
        for _ in range(500):
            xs = np.sin(xs)
        last, _ = gl.scan(lambda h, x: (np.tanh(h + x), None), np.zeros((BATCH, WIDTH), "float32"), xs @ w)
        return np.mean(last**2)

    graph = gl.trace(gl.grad(loss), *(gl.spec(shape, "float32") for shape in ((WIDTH, WIDTH), (STEPS, BATCH, WIDTH))))
    assert loops(prepared(graph, 8)) == [(8, [(8, [])])] * 2


def zoo_like(batch: int, steps: int, width: int) -> Graph:
    class Model(nn.Module):
        def __init__(self) -> None:
            self.cells = nn.LSTM(width, width)

        def forward(self, x: Any) -> Any:
            return self.cells(x)[0]

    def loss_fn(model: Any, batch: Any) -> Any:
        return nn.mse_loss(model(batch["x"]), batch["y"])

    batch_of = {name: gl.spec((steps, batch, width), "float32") for name in ("x", "y")}
    graph = trace_step(Model(), loss_fn, gl.optim.SGD(0.1), batch_of).graph
    return passed(graph, preparation())


def test_long_sequences_run_in_segments_and_short_or_small_ones_do_not():
    assert loops(zoo_like(64, 15, 128)) == [(15, []), (15, [])]
    assert loops(zoo_like(8, 64, 64)) == [(64, []), (64, [])]
    assert loops(zoo_like(16, 64, 128)) == [(8, [(8, [])])] * 2
    assert loops(zoo_like(32, 64, 256)) == [(8, [(8, [])])] * 2
    ((segments, ((steps, _),)), (back, ((back_steps, _),))) = loops(zoo_like(16, 500, 512))
    assert segments == back
    assert steps == back_steps
    assert segments * steps == 500
    assert steps * 16 >= 128


class HandWrittenLstm(nn.Module):
    """The gates of each step in one product of the input and one of the state, as one writes it in NumPy."""

    def __init__(self, width: int, hidden: int) -> None:
        self.hidden = hidden
        self.of_input = nn.Linear(width, 4 * hidden)
        self.of_state = nn.Linear(hidden, 4 * hidden, bias=False)

    def forward(self, x: Any) -> Any:
        n = self.hidden

        def step(carry: Any, x: Any) -> Any:
            h, c = carry
            gates = self.of_input(x) + self.of_state(h)
            i, f, g, o = (gates[:, k * n : (k + 1) * n] for k in range(4))
            c = nn.functional.sigmoid(f) * c + nn.functional.sigmoid(i) * np.tanh(g)
            h = nn.functional.sigmoid(o) * np.tanh(c)
            return (h, c), h

        start = np.zeros((x.shape[1], n), np.float32)
        return gl.scan(step, (start, start), x)[1]


def hand_written(steps: int, batch: int, width: int, hidden: int) -> Graph:
    specs = {"x": gl.spec((steps, batch, width)), "y": gl.spec((steps, batch, hidden))}

    def squared_error(model: Any, batch: Any) -> Any:
        return np.mean((model(batch["x"]) - batch["y"]) ** 2)

    return trace_step(HandWrittenLstm(width, hidden), squared_error, gl.optim.SGD(0.1), specs).graph


@pytest.mark.parametrize("sizes", [(48, 32, 64, 128), (128, 16, 32, 128), (256, 8, 32, 64)])
def test_an_lstm_written_by_hand_holds_a_fifth_less_in_segments(sizes: tuple[int, ...]):
    """Its products move out of the loop, which is then cut: so they are small, but not made step by step."""
    graph = hand_written(*sizes)
    whole = passed(graph, [step for step in preparation() if not isinstance(step, StripMineScans)])
    cut = passed(graph, preparation())
    assert [len(inside) for _, inside in loops(whole)] == [0, 0]
    assert all(inside for length, inside in loops(cut) if length > 1)
    assert plan_of(cut).arena_bytes < 0.82 * plan_of(whole).arena_bytes


def test_the_loop_of_a_segment_is_not_cut_again():
    """A segment of 32 steps, whose gates take 2.6 MB: as much as where a loop that stands alone is cut."""
    graph = hand_written(32, 40, 256, 128)
    assert loops(passed(graph, preparation())) == [(8, [(4, [])])] * 2
    body_like = hand_written(256, 40, 256, 128)
    cut = passed(body_like, [StripMineScans(32) if isinstance(p, StripMineScans) else p for p in preparation()])
    assert loops(cut) == [(8, [(32, [])])] * 2
