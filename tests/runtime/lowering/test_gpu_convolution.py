"""Convolutions by our own kernels of a GPU as products of what is found in images: tiles, parts, in the emulator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from compiled import run_executable
from gradloom.ir import Builder, Graph, interpret, spec
from gradloom.ir.ops.convolution import conv, conv_weight_gradient
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target
from gradloom.passes.verify.plan import check_plan
from gradloom.runtime.cpu.executable import allocate
from gradloom.runtime.emulate.program import EmulatedProgram
from gradloom.runtime.lowering.launch import Launch
from gradloom.runtime.lowering.launch_list import lower

RNG = np.random.default_rng(3)


def graph_of(x: tuple[int, ...], w: tuple[int, ...], gradient: bool = False, **windows: Any) -> Graph:
    axes = len(x) - 2
    given = {"stride": 1, "low": 0, "high": 0, "dilation": 1, "expand": 1, **windows}
    attrs = {name: (given[name],) * axes for name in ("stride", "low", "high", "dilation", "expand")}
    attrs = {**attrs, "groups": x[-1] // w[1]}
    b = Builder()
    made = conv(b, b.input(spec(x), "x"), b.input(spec(w), "w"), **attrs)
    if not gradient:
        return b.graph([made])
    b = Builder()
    images, cotangent = b.input(spec(x), "x"), b.input(spec(made.type.shape), "g")
    return b.graph([conv_weight_gradient(b, images, cotangent, kernel=w[2:], **attrs)])


def launches(graph: Graph, target: Target) -> list[Launch]:
    plan = plan_graph(graph, target=target)
    found = [item for phase in lower(plan).phases for unit in phase for stage in unit for item in stage]
    return [item for item in found if isinstance(item, Launch)]


@pytest.mark.parametrize(
    ("multiprocessors", "threads", "graph"),
    [
        (4, 128, graph_of((2, 9, 8, 20), (66, 20, 3, 3), low=1, high=1)),
        (132, 64, graph_of((2, 9, 8, 3), (20, 3, 3, 2), stride=2, low=2, dilation=2)),
        (132, 64, graph_of((1, 5, 6, 12), (8, 6, 2, 2), expand=2, low=1, high=-1)),
        (132, 256, graph_of((2, 5, 6, 3), (3, 1, 3, 3))),
        (132, 64, graph_of((3, 11, 10, 5), (18, 5, 3, 2), gradient=True, stride=2, low=1)),
        (132, 64, graph_of((2, 7, 4), (4, 2, 3), gradient=True, high=1)),
        (132, 64, graph_of((1, 3, 3, 3, 2), (4, 2, 2, 2, 2), low=1)),
    ],
)
def test_convolutions_are_what_the_interpreter_computes(multiprocessors: int, threads: int, graph: Graph):
    target = replace(Target.cuda(emulated=True), multiprocessors=multiprocessors)
    assert launches(graph, target)[0].threads == threads
    plan = plan_graph(graph, target=target)
    check_plan(plan)
    arrays = [RNG.normal(size=v.type.shape).astype(np.float32) for v in graph.inputs]
    (found,) = run_executable(EmulatedProgram(plan, allocate(plan.arena_bytes)), graph, arrays)[0]
    np.testing.assert_allclose(found, interpret(graph, *arrays)[0], 1e-4, 1e-4)


def test_the_gradient_of_a_weight_over_many_positions_is_made_in_parts():
    graph = graph_of((8, 16, 16, 4), (8, 4, 3, 3), gradient=True, low=1, high=1)
    target = replace(Target.cuda(emulated=True), multiprocessors=132)
    plan = plan_graph(graph, target=target)
    check_plan(plan)
    assert len(launches(graph, target)) == 2
    assert plan.arena_bytes == -(-8 * 8 * 36 * 4 // 256) * 256
    arrays = [RNG.normal(size=v.type.shape).astype(np.float32) for v in graph.inputs]
    (found,) = run_executable(EmulatedProgram(plan, allocate(plan.arena_bytes)), graph, arrays)[0]
    np.testing.assert_allclose(found, interpret(graph, *arrays)[0], 1e-3, 1e-3)
