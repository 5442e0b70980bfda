"""A program of a user, which type checkers read and no test runs. `reveal_type` stands where a test asks for a type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradloom as gl
import gradloom.numpy as gnp
import numpy as np
from gradloom import data, nn, optim
from gradloom.nn import functional as F
from gradloom.nn.utils.parametrizations import spectral_norm
from gradloom.optim.schedules import Cosine

if TYPE_CHECKING:
    from typing import reveal_type


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = spectral_norm(nn.Linear(3, width))
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(2)])
        self.scale = nn.Parameter(np.ones(3, np.float32))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Dropout(0.1), nn.Linear(width, 4))
        nn.init.kaiming_normal_(self.scale)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.first(x * self.scale))
        for layer in self.layers:
            x = gl.nn.functional.gelu(layer(x))
        return self.last(x)


class Note(gl.callbacks.Callback):
    def on_epoch_end(self, run: Any) -> None:
        print(run.epoch)


def loss_fn(model: Net, batch: dict[str, Any]) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def halved(w: Any) -> Any:
    return gnp.sum(w) / 2


def predicted(model: Net, x: Any) -> Any:
    return model(x).argmax(axis=1)


def main() -> None:
    net = Net(8)
    batch = {"x": gl.spec((16, 3), "float32"), "y": gl.spec((16,), "int64")}
    plan = gl.plan_step(net, loss_fn, optim.SGD(0.1, momentum=0.9), batch, memory="1MB")
    print(plan.report, plan.largest_batch("4GB"), plan.report.to_json())
    step = gl.compile_step(net, loss_fn, optim.AdamW(Cosine(1e-3, 100), weight_decay=0.1), batch, clip_norm=1.0)
    arrays = {"x": np.ones((16, 3), np.float32), "y": np.zeros(16, np.int64)}
    print(step(arrays), step.report.values[0].name, step.learning_rate, step.gradients(arrays))
    step.set_parameters(step.parameters())
    step.save("x.safetensors")
    step.load("x.safetensors")
    predict = step.bind(predicted)
    print(predict(arrays["x"]))
    train, held_out = data.split(arrays, 0.2)
    history = gl.fit(
        step,
        train,
        epochs=2,
        validate=held_out,
        metrics=[gl.metrics.accuracy],
        callbacks=[gl.callbacks.EarlyStopping("val_loss"), Note()],
    )
    print(history["val_accuracy"], gl.evaluate(step, held_out))
    for one in gl.data.batches(train, 16, seed=0):
        step(one)
    graph = gl.trace(gl.grad(halved), np.ones(3))
    graph.verify()
    print(graph, gl.interpret(graph, np.ones(3)), gl.parse(str(graph)))
    fast = gl.compile(gl.value_and_grad(halved))
    value, gradient = fast(np.ones(3))
    print(value, gradient, gnp.linalg.norm(np.ones(3)), gl.vmap(halved)(np.ones((3, 2))), gl.hessian(halved)(value))
    with gl.random.key(3):
        print(gl.random.normal((3,)), gl.tree.leaves({"a": 1}))
    try:
        gl.plan_step(net, loss_fn, optim.Lion(1e-4), batch, memory="1KB")
    except gl.MemoryBudgetError as error:
        reveal_type(error.least_bytes)
    reveal_type(nn.Linear(3, 4))
    reveal_type(net.first.in_features)
    reveal_type(net.scale)
    reveal_type(F.relu(arrays["x"]))
    reveal_type(optim.AdamW(1e-3))
    reveal_type(step)
    reveal_type(plan)
    reveal_type(step.report)
    reveal_type(step.report.total_bytes)
    reveal_type(history)
    reveal_type(graph)
    reveal_type(gl.load(net, "x.safetensors"))
    reveal_type(gl.__version__)
    # What does not exist.
    gl.no_such_name  # wrong
    nn.NoSuchLayer  # wrong
    F.no_such_function  # wrong
    optim.NoSuchOptimizer  # wrong
    gnp.no_such_function  # wrong
    step.no_such_method  # wrong
    gl.compile_step(net, loss_fn, optim.SGD(0.1), batch, no_such_option=1)  # wrong
