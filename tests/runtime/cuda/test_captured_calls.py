"""Calls of libraries, and transfers to and from the host, are captured among the launches of a step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from fake_cublaslt import FakeCublasLt
from gradloom import nn, optim
from gradloom.ir import ArrayType, interpret, parse
from gradloom.passes.memory.plan import plan
from gradloom.passes.target import Target
from gradloom.runtime.backend import backend_of
from gradloom.runtime.cuda.capture import Check, Graph
from gradloom.runtime.cuda.products import Products
from gradloom.runtime.fake_gpu.driver import Code, FakeDriver
from moved_values import HOST_TARGET, plan_that_moves
from on_fake_gpu import fake_gpu


class QueuedCublasLt(FakeCublasLt):
    """One that multiplies when the stream comes to it, by what was told at the call."""

    def __init__(self, driver: FakeDriver) -> None:
        super().__init__()
        self.driver = driver

    def matmul(self, *arguments: Any) -> None:
        told = {handle: dict(each) for handle, each in self.alive.items()}

        def later() -> Code:
            now, self.alive = self.alive, told
            try:
                super(QueuedCublasLt, self).matmul(*arguments)
            finally:
                self.alive = now
            return Code.SUCCESS

        self.driver.give(self.driver.stream(arguments[-1]), later)


def with_products(driver: FakeDriver) -> dict[str, Any]:
    return {"cublaslt": Products(QueuedCublasLt(driver))}


def trained() -> tuple[list[float], Any]:
    def loss_fn(model: Any, batch: Any) -> Any:
        return nn.cross_entropy(model(batch["x"]), batch["y"])

    batch = {"x": gl.spec((8, 40)), "y": gl.spec((8,), "int64")}
    model = nn.Sequential(nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 3))
    step = gl.compile_step(model, loss_fn, optim.SGD(0.1), batch, target="cuda")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 40)).astype(np.float32), rng.integers(0, 3, 8)
    losses = [step({"x": x, "y": y}) for _ in range(3)]
    return [float(loss) for loss in losses], step


def test_products_by_a_library_are_part_of_the_graph():
    with fake_gpu():
        expected, step = trained()
        assert step.report.target.libraries == ()
    with fake_gpu(with_products) as driver:
        losses, step = trained()
        assert step.report.target.libraries == ("cublaslt",)
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        assert driver.calls.count("cuGraphLaunch") == 3
        assert trained()[0] == losses


SUM = """graph(%m: f32[20,20], %x: f32[20,20], %at: i64[3]) {
  %0: f32[3,20] = gather(%x, %at) {axis=0, batch=0}
  %1: f32[20,20] = dot_add(%m, %x, %x) {contract=((1,), (0,)), batch=((), ())}
  return "m"=%1 -> %m, "y"=%0
}"""


def test_a_library_that_overwrites_an_input_runs_where_nothing_has_trapped():
    target = replace(Target.cuda(), libraries=("cublaslt",))
    graph = parse(SUM)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 20)).astype(np.float32)
    with fake_gpu(with_products):
        backend = backend_of(target)
        program = backend.build(plan(graph, target.workers or 1, outputs_in_arena=True, target=target))
        (m,) = backend.hold([ArrayType((20, 20), np.dtype(np.float32))])
        m[...] = x
        program.bind_input(0, m)
        program.run([x, np.array([0, 30, 1])], first_input=1)
        with pytest.raises(IndexError, match="out of range for 20 entries"):
            np.asarray(program.output_in_arena(1))
        assert m.copy().tobytes() == x.tobytes()
        program.run([x, np.array([0, 3, 1])], first_input=1)
        np.testing.assert_allclose(m.copy(), x + x @ x, rtol=1e-5)
        assert [type(piece) for piece in program._pieces] == [Graph, Check, Graph]


def test_transfers_move_values_to_the_host_and_back():
    made = plan_that_moves()
    rng = np.random.default_rng(0)
    m, x = ((rng.normal(size=(20, 20)) / 8).astype(np.float32) for _ in range(2))
    with fake_gpu() as driver:
        backend = backend_of(replace(HOST_TARGET, device="cuda"))
        before = sum(driver.allocations())
        program = backend.build(made)
        (held,) = backend.hold([ArrayType(m.shape, m.dtype)], on_host=[0])
        assert sum(driver.allocations()) - before == made.arena_bytes
        held[...] = m
        program.bind_input(0, held)
        for _ in range(2):
            program.run([x], first_input=1)
            m, y = interpret(made.graph, m, x)
            np.testing.assert_allclose(program.output_in_arena(1).copy(), y, rtol=1e-4)
            np.testing.assert_allclose(held.copy(), m, rtol=1e-4)
