"""What the engine offers on a CPU it offers on a GPU, over a driver that is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from compiled import run_executable
from gpu_target import GPU_TARGET
from gradloom import nn, optim
from gradloom.ir import Array, Graph
from gradloom.passes.pipeline import plan_graph
from gradloom.runtime.backend import backend_of
from on_fake_gpu import fake_gpu
from op_cases import CASES
from op_programs import plain, wrong_rows

SAMPLE = ("reduce_sum", "argmax", "dot", "gather", "scatter_add", "sort", "concatenate", "while_loop", "scan", "cond")


def run_on_fake(graph: Graph, *arrays: Array) -> list[Array]:
    """The outputs of a graph; those that overwrite an input are found in the copy of that input."""
    backend = backend_of(GPU_TARGET)
    return run_executable(backend.build(plan_graph(graph, target=GPU_TARGET)), graph, arrays)[0]


def batches(n: int, rows: int = 6) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((rows, 5)).astype(np.float32), "y": rng.integers(0, 3, rows)} for _ in range(n)]


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def make_step(**options: Any) -> Any:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 3))
    batch = {"x": gl.spec((6, 5)), "y": gl.spec((6,), "int64")}
    options = {"optimizer": optim.AdamW(1e-2), "target": "cuda", **options}
    return gl.compile_step(model, loss_fn, options.pop("optimizer"), batch, **options)


def train(step: Any, given: list[dict[str, Any]]) -> Any:
    for batch in given:
        step(batch)
    return step


def bits(step: Any) -> dict[str, bytes]:
    held = step.parameters() | step.buffers() | {f"state.{name}": array for name, array in step.state().items()}
    return {name: array.tobytes() for name, array in held.items()}


def test_ops_compute_what_the_interpreter_does():
    with fake_gpu():
        for name in SAMPLE:
            rows = [case for case in CASES if case.name == name]
            assert not wrong_rows(plain, rows[:: max(1, len(rows) // 4)], run_on_fake)


def test_loops_and_branches_whose_ends_are_known_only_as_they_run():
    def f(x: Any, limit: Any) -> Any:
        count, doubled = gl.while_loop(lambda c: c[1].sum() < limit, lambda c: (c[0] + 1, c[1] * 2), (np.int64(0), x))
        return count, gl.cond(doubled[0] > 1, lambda v: v + 1, lambda v: v - 1, doubled)

    with fake_gpu():
        compiled = gl.compile(f, target="cuda")
        for x in (np.ones(3, np.float32), np.full(3, 0.25, np.float32)):
            for limit in (0.5, 4.0, 100.0):
                count, result = compiled(x, limit)
                expected = 0
                while x.sum() * 2**expected < limit:
                    expected += 1
                assert count == expected
                assert result[0] == x[0] * 2**expected + (1 if x[0] * 2**expected > 1 else -1)


def test_a_trap_in_a_loop_ends_it_and_what_was_bound_is_as_before():
    def f(m: Any, x: Any, at: Any) -> Any:
        def more(c: Any) -> Any:
            return c[0] + x[c[0] * 0 + at], c[1] + 1

        last, count = gl.while_loop(lambda c: c[1] < 5, more, (at, np.int64(0)))
        m.seen = m.seen + count
        return last

    class Counted(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(5, 3)
            self.seen = nn.Buffer(np.zeros((), np.int64))

        def forward(self, x: Any) -> Any:
            return self.layer(x)

    with fake_gpu():
        batch = {"x": gl.spec((6, 5)), "y": gl.spec((6,), "int64")}
        step = gl.compile_step(Counted(), loss_fn, optim.SGD(0.1), batch, target="cuda")
        bound = step.bind(f)
        x = np.arange(1, 5)
        assert bound(x, np.int64(1)) == 1 + 5 * 2
        with pytest.raises(IndexError, match="out of range for 4 entries"):
            bound(x, np.int64(7))
        assert step.buffers()["seen"] == 5
        assert bound(x, np.int64(0)) == 5
        assert step.buffers()["seen"] == 10


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path):
    given = batches(6)
    with fake_gpu():
        whole = train(make_step(), given)
        train(make_step(), given[:3]).save(tmp_path / "half.safetensors")
        resumed = make_step(seed=5)
        resumed.load(tmp_path / "half.safetensors")
        assert bits(train(resumed, given[3:])) == bits(whole)
        whole.set_parameters(whole.parameters())
        assert bits(whole) == bits(resumed)
        predictions = [step.bind(lambda model, x: model(x))(given[0]["x"]) for step in (whole, resumed)]
        assert predictions[0].tobytes() == predictions[1].tobytes()


def test_options_of_a_step():
    given = batches(2)
    with fake_gpu():
        plain_step = make_step(optimizer=optim.EMA(optim.SGD(0.1), 0.5))
        averaged = plain_step.bind(lambda model, x: model(x), averaged=True)
        train(plain_step, given)
        assert averaged(given[0]["x"]).shape == (6, 3)
        expected = {k: v for k, v in bits(plain_step).items() if not k.startswith("state.")}
        for options in ({"memory": plain_step.report.total_bytes}, {"diagnose": True}, {"check_finite": True}):
            step = train(make_step(optimizer=optim.SGD(0.1), **options), given)
            assert {k: v for k, v in bits(step).items() if not k.startswith("state.")} == expected
            if "diagnose" in options:
                assert "0" in str(step.diagnosis)
        before = bits(step)
        bad = {"x": given[0]["x"].copy(), "y": given[0]["y"]}
        bad["x"][1, 1] = np.nan
        with pytest.raises(FloatingPointError, match=r"step 3 is not finite.* batch.x holds nan at \[1, 1\]"):
            step(bad)
        assert bits(step) == before
        gradients = step.gradients(given[0])
        assert gradients.keys() == step.parameters().keys()
        step.learning_rate = 0.0
        step(given[0])
        assert step.parameters()["0.weight"].tobytes() == before["0.weight"]


def test_steps_share_parameters_and_an_arena_and_batches_have_several_shapes():
    with fake_gpu() as driver:
        model = nn.Linear(5, 3)
        batch = {"x": gl.spec((6, 5)), "y": gl.spec((6,), "int64")}
        first = gl.compile_step(model, loss_fn, optim.SGD(0.1), batch, target="cuda")
        small = lambda model, batch: np.mean(model(batch["x"]) ** 2)  # noqa: E731
        second = gl.compile_step(model, small, optim.SGD(0.1), batch, share=first, target="cuda")
        for each in (*batches(2), *batches(1, rows=9), *batches(1)):
            losses = first(each), second(each)
        assert all(np.isfinite(losses))
        assert first.parameters()["weight"].tobytes() == second.parameters()["weight"].tobytes()
        assert driver.allocations().count(max(driver.allocations())) == 1


def test_donated_arguments_are_written_over():
    with fake_gpu():
        compiled = gl.compile(lambda p, x: (p * 0.5 + x, p.sum()), target="cuda", donate_argnums=0)
        p, x = np.ones((4, 5), np.float32), np.arange(20, dtype=np.float32).reshape(4, 5)
        new, total = compiled(p, x)
        assert new is p
        assert total == 20
        np.testing.assert_array_equal(new, 0.5 + x)
