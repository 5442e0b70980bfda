"""Convolutional networks in tiles of the batch: the same numbers, an arena that does not grow, one set of bits."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from compiled import run_compiled
from gradloom import nn, optim
from gradloom.engine.step.compile_step import compile_step
from gradloom.engine.step.step_graph import trace_step
from gradloom.ir import Graph, interpret, spec, verify
from gradloom.nn import functional as F
from gradloom.passes.pipeline import plan_graph, run_passes
from gradloom.passes.simplify.channels_last import ChannelsLast
from gradloom.passes.simplify.simplify import Simplify
from gradloom.passes.tiling.batch import TileBatch
from gradloom.passes.verify.plan import check_plan


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def loss_of_pixels(model: Any, batch: Any) -> Any:
    logits = model(batch["x"])
    return F.cross_entropy(logits.transpose(0, 2, 3, 1).reshape(-1, logits.shape[1]), batch["y"].reshape(-1))


SIDE = 24


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 24, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.4),
        nn.Linear(24 * (SIDE // 4) ** 2, 5),
    )


def normalized() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        nn.GroupNorm(4, 16),
        nn.GELU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.InstanceNorm2d(16, affine=True),
        nn.Dropout2d(0.3),
        nn.Conv2d(16, 24, 1),
        nn.AvgPool2d(3, 2, 1),
        nn.LayerNorm((24, SIDE // 4, SIDE // 4)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 5),
    )


class SmallUNet(nn.Module):
    def __init__(self) -> None:
        self.down = nn.Conv2d(3, 16, 3, padding=1)
        self.inner = nn.Conv2d(16, 24, 3, padding=1, dilation=1)
        self.up = nn.ConvTranspose2d(24, 16, 2, stride=2)
        self.resized = nn.Upsample(scale_factor=2, mode="bilinear")
        self.merge = nn.Conv2d(56, 16, 3)
        self.padded = nn.ReflectionPad2d(1)
        self.out = nn.Conv2d(16, 4, 1)

    def forward(self, x: Any) -> Any:
        high = F.relu(self.down(x))
        low = F.relu(self.inner(nn.MaxPool2d(2)(high)))
        joined = gl.numpy.concat([high, self.up(low), self.resized(low)], axis=1)
        return self.out(self.padded(F.relu(self.merge(joined))))


def images(n: int, classes: int = 5, pixels: bool = False, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    labels = (n, SIDE, SIDE) if pixels else (n,)
    return {"x": rng.standard_normal((n, 3, SIDE, SIDE)).astype("float64"), "y": rng.integers(0, classes, labels)}


CASES: dict[str, tuple[Any, Any, bool, int]] = {
    "plain": (plain, loss_fn, False, 24),
    "normalized": (normalized, loss_fn, False, 48),
    "unet": (SmallUNet, loss_of_pixels, True, 8),
}
"""Model, loss, whether labels are of pixels, and images."""


def traced(name: str, n: int | None = None) -> Graph:
    model, loss, pixels, usual = CASES[name]
    batch = images(n or usual, classes=4, pixels=pixels)
    return trace_step(model().to("float64"), loss, optim.SGD(1e-2, momentum=0.9), batch).graph


def arrays_for(graph: Graph) -> list[Any]:
    rng = np.random.default_rng(0)
    arrays: list[Any] = []
    for value in graph.inputs:
        t = value.type
        made = np.abs(0.1 * rng.standard_normal(t.shape)) if t.dtype.kind == "f" else rng.integers(0, 4, t.shape)
        arrays.append(np.asarray(made).astype(t.dtype))
    return arrays


def tiles_in(graph: Graph) -> int:
    """The steps of all loops around convolutions."""
    return sum(
        node.attrs["length"] * max(tiles_in(node.attrs["body"]), 1) for node in graph.nodes if node.op.name == "scan"
    )


@pytest.mark.parametrize("name", CASES)
def test_a_step_keeps_its_numbers(name: str):
    graph = ChannelsLast()(Simplify()(traced(name)))
    tiled = TileBatch()(graph)
    assert tiles_in(tiled) > 1
    verify(tiled)
    arrays = arrays_for(graph)
    for a, b in zip(interpret(graph, *arrays), interpret(tiled, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_compiled_tiles_have_the_numbers_of_the_interpreter(name: str):
    graph = traced(name)
    arrays = arrays_for(graph)
    first = run_compiled(graph, *arrays)
    for threads in (2, 4):
        for a, b in zip(first, run_compiled(graph, *arrays, threads=threads), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(interpret(graph, *arrays), first, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_plan_is_sound(name: str, threads: int):
    planned = plan_graph(traced(name), threads, True)
    assert planned.bodies
    check_plan(planned)


@pytest.mark.parametrize("name", CASES)
def test_the_arena_does_not_grow_with_the_batch(name: str):
    arenas = [plan_graph(traced(name, n), 2, True).arena_bytes for n in (64, 512)]
    assert arenas[1] < 1.1 * arenas[0]


def test_sums_of_weight_gradients_are_written_over_the_old_ones():
    scheduled = run_passes(traced("plain", 64))
    (loop,) = (node for node in scheduled.nodes if node.op.name == "scan")
    body: Graph = loop.attrs["body"]
    while not loop.attrs["carries"]:
        (loop,) = (node for node in body.nodes if node.op.name == "scan")
        body = loop.attrs["body"]
    names = [node.op.name for node in body.nodes]
    assert names.count("conv_weight_gradient_add") == 2
    assert "conv_weight_gradient" not in names


def test_the_gradient_of_a_weight_far_larger_than_the_batch_comes_after_the_loop():
    features, hidden = 16 * (SIDE // 2) ** 2, 100
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 16, 1), nn.Flatten(), nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, 4),
    )  # fmt: skip
    graph = ChannelsLast()(
        Simplify()(trace_step(model.to("float64"), loss_fn, optim.SGD(1e-2), images(8, classes=4)).graph)
    )
    tiled = TileBatch()(graph)
    assert tiles_in(tiled) > 1
    verify(tiled)
    sizes = {v.type.size for node in tiled.nodes if node.op.name == "scan" for v in node.outputs}
    # Each lane has sums of its own.
    assert any(size % (64 * 64 * 9) == 0 for size in sizes)
    assert all(size % (features * hidden) for size in sizes)
    arrays = arrays_for(graph)
    for a, b in zip(interpret(graph, *arrays), interpret(tiled, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_what_normalizes_over_the_batch_is_left_alone():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 5))
    batch = {"x": spec((64, 3, 16, 16)), "y": spec((64,), "int64")}
    graph = ChannelsLast()(Simplify()(trace_step(model, loss_fn, optim.SGD(0.1), batch).graph))
    assert TileBatch()(graph) is graph


@pytest.mark.peers
def test_a_network_in_tiles_trains_as_in_torch():
    torch = pytest.importorskip("torch")
    t = torch.nn
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(16, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 14 * 14, 5),
    ).to("float64")
    peer = t.Sequential(
        t.Conv2d(3, 16, 3, padding=1),
        t.GroupNorm(4, 16),
        t.ReLU(),
        t.MaxPool2d(2),
        t.ConvTranspose2d(16, 8, 3),
        t.ReLU(),
        t.Flatten(),
        t.Linear(8 * 14 * 14, 5),
    ).double()
    data = [images(32, seed=i) for i in range(3)]
    step = compile_step(model, loss_fn, optim.AdamW(1e-2), data[0])
    assert step.report.plan.bodies
    step.set_parameters({name: tensor.numpy() for name, tensor in peer.state_dict().items()})
    trainer = torch.optim.AdamW(peer.parameters(), lr=1e-2)
    for batch in data:
        loss = step(batch)
        trainer.zero_grad()
        expected = t.functional.cross_entropy(peer(torch.tensor(batch["x"])), torch.tensor(batch["y"]))
        expected.backward()
        trainer.step()
        np.testing.assert_allclose(loss, expected.item(), rtol=1e-8)
    for name, tensor in peer.state_dict().items():
        np.testing.assert_allclose(step.parameters()[name], tensor.numpy(), rtol=1e-6, atol=1e-8, err_msg=name)
