"""Convolutional networks, trained: the losses, parameters and running statistics of torch, and one set of bits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.passes.kernels.conv_operands import added_input, convolution_of
from gradloom.tools.recipes.bench_cnn import cnn
from gradloom.tools.recipes.residual_network import residual_network

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")


def peer_network(channels: int, *widths: int) -> Any:
    torch = pytest.importorskip("torch")
    t = torch.nn

    class Block(t.Module):
        def __init__(self, narrow: int, wide: int, stride: int) -> None:
            super().__init__()
            self.conv1 = t.Conv2d(narrow, wide, 3, stride, 1, bias=False)
            self.norm1 = t.BatchNorm2d(wide)
            self.conv2 = t.Conv2d(wide, wide, 3, 1, 1, bias=False)
            self.norm2 = t.BatchNorm2d(wide)
            changes = narrow != wide or stride != 1
            self.shortcut = t.Conv2d(narrow, wide, 1, stride, bias=False) if changes else t.Identity()

        def forward(self, x: Any) -> Any:
            h = t.functional.relu(self.norm1(self.conv1(x)))
            return t.functional.relu(self.norm2(self.conv2(h)) + self.shortcut(x))

    first = widths[0]
    layers = [t.Conv2d(channels, first, 3, 1, 1, bias=False), t.BatchNorm2d(first), t.ReLU(), Block(first, first, 1)]
    layers += [Block(a, b, 2) for a, b in pairwise(widths)]
    return t.Sequential(*layers, t.AdaptiveAvgPool2d(1), t.Flatten(), t.Linear(widths[-1], 10))


def pooled_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.GELU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(6, 8, 3),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.ReflectionPad2d(1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 3 * 2, 5),
    )


def pooled_peer() -> Any:
    t = pytest.importorskip("torch").nn
    return t.Sequential(
        t.Conv2d(2, 6, 3, padding=1),
        t.BatchNorm2d(6),
        t.GELU(),
        t.MaxPool2d(3, 2, 1),
        t.Conv2d(6, 8, 3),
        t.GroupNorm(2, 8),
        t.ReLU(),
        t.AvgPool2d(2, ceil_mode=True),
        t.Upsample(scale_factor=2, mode="bilinear"),
        t.ReflectionPad2d(1),
        t.MaxPool2d(2),
        t.Flatten(),
        t.Linear(8 * 3 * 2, 5),
    )


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def batches(shape: tuple[int, ...], classes: int, dtype: str = "float64", count: int = 6) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {"x": rng.standard_normal(shape).astype(dtype), "y": rng.integers(0, classes, shape[0])} for _ in range(count)
    ]


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["residual", "pooled"])
def test_a_network_trains_as_in_torch(kind: str):
    torch = pytest.importorskip("torch")
    if kind == "residual":
        model, peer, data = residual_network(3, 4, 6, 8), peer_network(3, 4, 6, 8), batches((5, 3, 9, 10), 10)
    else:
        model, peer, data = pooled_network(), pooled_peer(), batches((4, 2, 9, 8), 5)
    model, peer = model.to("float64"), peer.double()
    step = gl.compile_step(model, loss_fn, optim.AdamW(1e-2), data[0])
    step.set_parameters({name: tensor.numpy() for name, tensor in peer.state_dict().items()})
    trainer = torch.optim.AdamW(peer.parameters(), lr=1e-2)
    for batch in data:
        loss = step(batch)
        trainer.zero_grad()
        expected = torch.nn.functional.cross_entropy(peer(torch.tensor(batch["x"])), torch.tensor(batch["y"]))
        expected.backward()
        trainer.step()
        np.testing.assert_allclose(loss, expected.item(), rtol=1e-8)
    ours = {**step.parameters(), **step.buffers()}
    for name, tensor in peer.state_dict().items():
        np.testing.assert_allclose(ours[name], tensor.numpy(), rtol=1e-6, atol=1e-8, err_msg=name)
    peer.eval()
    predicted = step.bind(lambda model, x: model(x))(data[0]["x"])
    np.testing.assert_allclose(predicted, peer(torch.tensor(data[0]["x"])).detach().numpy(), rtol=1e-6, atol=1e-8)


def strided_pooled_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(16, 32, 3),
        nn.BatchNorm2d(32),
        nn.AvgPool2d(3, 2, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 5),
    )


@pytest.mark.parametrize("make", [strided_pooled_network, lambda: residual_network(2, 8, 20, 24, classes=5)])
def test_the_bits_of_a_network_do_not_depend_on_the_threads(make: Callable[[], nn.Sequential]):
    data = batches((12, 2, 24, 23), 5, "float32", count=3)
    model = make()
    results = []
    for threads in (1, 2, 4):
        step = gl.compile_step(model, loss_fn, optim.AdamW(1e-2), data[0], threads=threads)
        losses = [step(batch) for batch in data]
        results.append((losses, {n: a.tobytes() for n, a in {**step.parameters(), **step.buffers()}.items()}))
    assert results[0] == results[1] == results[2]


@pytest.mark.peers
def test_the_network_of_the_benchmark_has_the_parameters_of_its_peer():
    model, _, _, batch = cnn()
    assert batch["x"] == gl.spec((32, 3, 32, 32))
    shapes = {name: p.shape for name, p in model.stored_parameters()}
    assert shapes == {name: tuple(p.shape) for name, p in peer_network(3, 16, 32, 64).named_parameters()}


def pooled_between_linear(n: Any) -> list[Any]:
    return [
        n.Linear(48, 64),
        n.ReLU(),
        n.Unflatten(1, (4, 4, 4)),
        n.GroupNorm(2, 4),
        n.MaxPool2d(3, 1, 1),
        n.AvgPool2d(2, ceil_mode=True),
        n.Flatten(),
        n.Linear(16, 256),
        n.ReLU(),
        n.Linear(256, 5),
    ]


def families_in_loops(graph: gl.Graph) -> set[str]:
    bodies = [node.attrs["body"] for node in graph.nodes if node.op.name == "scan"]
    return {node.op.family for body in bodies for node in body.nodes}.union(*map(families_in_loops, bodies))


@pytest.mark.peers
def test_pooling_runs_in_the_loop_over_tiles_of_a_large_batch():
    torch = pytest.importorskip("torch")
    peer = torch.nn.Sequential(*pooled_between_linear(torch.nn)).double()
    model = nn.Sequential(*pooled_between_linear(nn)).to("float64")
    data = batches((2048, 48), 5, count=3)
    step = gl.compile_step(model, loss_fn, optim.SGD(0.1), data[0])
    outside = {node.op.family for node in step.report.plan.graph.nodes}
    assert "window" in families_in_loops(step.report.plan.graph)
    assert "window" not in outside
    step.report.check()
    step.set_parameters({name: tensor.numpy() for name, tensor in peer.state_dict().items()})
    trainer = torch.optim.SGD(peer.parameters(), lr=0.1)
    for batch in data:
        loss = step(batch)
        trainer.zero_grad()
        expected = torch.nn.functional.cross_entropy(peer(torch.tensor(batch["x"])), torch.tensor(batch["y"]))
        expected.backward()
        trainer.step()
        np.testing.assert_allclose(loss, expected.item(), rtol=1e-9)


def test_both_ways_through_a_block_leave_their_gradients_in_one_array():
    batch = {"x": gl.spec((12, 2, 24, 23), "float32"), "y": gl.spec((12,), "int64")}
    planned = gl.plan_step(residual_network(2, 8, 20, 24, classes=5), loss_fn, optim.AdamW(1e-2), batch).plan
    added = [node for node in planned.graph.nodes if convolution_of(node).op.name == "conv_add"]
    # Onto the shortcuts of the two blocks that change the channels, and onto what goes past the first block.
    assert len(added) == 3
    assert all(planned.in_place[node] == {0: added_input(node)} for node in added)


def test_of_the_last_activation_only_signs_are_kept():
    batch = {"x": gl.spec((12, 2, 24, 23), "float32"), "y": gl.spec((12,), "int64")}
    report = gl.plan_step(residual_network(2, 8, 20, 24, classes=5), loss_fn, optim.AdamW(1e-2), batch).report
    kept = [v for v in report.values if v.kind == "activation" and v.scope.startswith("5") and v.bytes > 5000]
    assert sorted(v.bytes for v in kept) == [12 * 6 * 6 * 24, 12 * 6 * 6 * 24 * 4, 12 * 6 * 6 * 24 * 4]
