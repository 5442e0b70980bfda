"""Training steps on a driver that is none, whose products and convolutions stand-ins of libraries make."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from fake_cublaslt import Epilogue, FakeCublasLt
from fake_cudnn import FakeCudnn
from gradloom import nn, optim
from gradloom.runtime.backend import backend_replaced
from gradloom.runtime.cuda.convolutions import Convolutions
from gradloom.runtime.cuda.products import Products
from gradloom.runtime.fake_gpu.backend import fake_cuda
from gradloom.runtime.fake_gpu.driver import Code, FakeDriver


class Queued:
    """A library whose calls run when the stream, or the graph that it is captured to, comes to them."""

    def __init__(self, driver: FakeDriver, inner: Any) -> None:
        self.driver, self.inner = driver, inner
        self.supports, self.prepare = inner.supports, inner.prepare

    def run(self, call: Any, address: Any, stream: int) -> None:
        def operation() -> Code:
            self.inner.run(call, address, stream)
            return Code.SUCCESS

        self.driver.give(self.driver.stream(stream), operation)


class Net(nn.Module):
    def __init__(self) -> None:
        self.conv = nn.Conv2d(2, 5, 3, padding=1)
        self.deep = nn.Conv2d(5, 4, 3, stride=2)
        self.linear = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        y = np.maximum(self.deep(np.maximum(self.conv(x), 0)), 0)
        return self.linear(y.reshape(y.shape[0], -1))


def losses(target: str) -> list[float]:
    def loss_fn(model: Any, batch: Any) -> Any:
        return nn.cross_entropy(model(batch["x"]), batch["y"])

    rng = np.random.default_rng(4)
    batch = {"x": rng.normal(size=(4, 2, 6, 6)).astype(np.float32), "y": rng.integers(0, 3, 4)}
    step = gl.compile_step(Net(), loss_fn, optim.SGD(0.1), batch, target=target)
    return [float(step(batch)) for _ in range(3)]


@pytest.mark.parametrize("knows", [True, False])
def test_a_step_by_libraries_trains_as_on_a_cpu_or_by_own_kernels_where_they_know_nothing(knows: bool):
    expected = losses("cpu")
    driver, cublaslt, cudnn = FakeDriver(), FakeCublasLt(knows), FakeCudnn(knows)
    made = {"cublaslt": Queued(driver, Products(cublaslt)), "cudnn": Queued(driver, Convolutions(cudnn))}
    with backend_replaced("cuda", fake_cuda(driver, made)):
        found = losses("cuda")
    np.testing.assert_allclose(found, expected, 1e-5)
    kinds = [kind for kind, _ in cudnn.executed]
    assert {kind: kinds.count(kind) for kind in kinds} == (
        {"forward": 6, "data_gradient": 3, "filter_gradient": 6} if knows else {}
    )
    assert len(cublaslt.calls) == (9 if knows else 0)
    streams = {told["stream"] for told in cublaslt.calls} | {stream for _, stream in cudnn.executed}
    assert len(streams) == (1 if knows else 0)


@pytest.mark.parametrize("knows", [True, False])
def test_biases_and_relus_are_part_of_the_calls_or_of_own_kernels(knows: bool):
    def trained(target: str) -> tuple[list[float], Any]:
        def loss_fn(model: Any, batch: Any) -> Any:
            return nn.cross_entropy(model(batch["x"]), batch["y"])

        rng = np.random.default_rng(6)
        batch = {"x": rng.normal(size=(24, 40)).astype(np.float32), "y": rng.integers(0, 3, 24)}
        model = nn.Sequential(nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))
        step = gl.compile_step(model, loss_fn, optim.SGD(0.1), batch, target=target)
        return [float(step(batch)) for _ in range(3)], step

    driver, cublaslt = FakeDriver(), FakeCublasLt(knows)
    with backend_replaced("cuda", fake_cuda(driver, {"cublaslt": Queued(driver, Products(cublaslt))})):
        found, step = trained("cuda")
    np.testing.assert_allclose(found, trained("cpu")[0], rtol=1e-5)
    relus = [told["EPILOGUE"] for told in cublaslt.calls].count(Epilogue.RELU_BIAS)
    assert relus == (6 if knows else 0)
    assert [unit.name for unit in step.report.units].count("dot relu add") == 2
