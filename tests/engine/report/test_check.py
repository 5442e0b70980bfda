"""A report is compared with its plan, and a plan with the step: what is wrong is named, with the user's line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import gradloom as gl
import pytest
from gradloom import nn, optim
from gradloom.ir import Graph, Node
from gradloom.passes.verify.errors import PlanVerificationError

HERE = "test_check.py"


class Net(nn.Module):
    """Linear maps with dropout between them, and a recurrent cell."""

    def __init__(self) -> None:
        self.cell = nn.LSTM(16, 16)
        self.maps = nn.ModuleList([nn.Linear(16, 16) for _ in range(6)])
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Any) -> Any:
        x, _ = self.cell(x)
        for linear in self.maps:
            x = x + self.drop(nn.gelu(linear(x), "tanh"))
        return x


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.mse_loss(model(batch["x"]), batch["x"])


@cache
def report(memory: str | None = "80%") -> gl.MemoryReport:
    made = gl.plan_step(Net(), loss_fn, optim.AdamW(1e-3), {"x": gl.spec((24, 8, 16))}, memory=memory, threads=2).report
    made.check()
    assert memory is None or made.recompute_flops > 0
    return made


NUMBERS = (
    *("parameter_bytes", "state_bytes", "constant_bytes", "arena_bytes", "lower_bound_bytes", "flops"),
    *("recompute_flops", "phases", "threads"),
)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("by", [-1, 1])
def test_a_figure_that_is_wrong_is_found(name: str, by: int):
    r = report()
    with pytest.raises(PlanVerificationError, match=name):
        replace(r, **{name: getattr(r, name) + by}).check()


def test_a_budget_that_is_not_kept_is_found():
    r = report()
    with pytest.raises(PlanVerificationError, match="its budget is"):
        replace(r, budget_bytes=r.total_bytes - 1).check()
    replace(r, budget_bytes=r.total_bytes).check()


def test_time_that_is_won_by_recomputing_is_found():
    with pytest.raises(PlanVerificationError, match="less than no time"):
        replace(report(), slowdown=-0.1).check()


@pytest.mark.parametrize("name", ["bytes", "offset", "birth", "death", "made_by"])
@pytest.mark.parametrize("which", [0, -1])
def test_a_value_that_is_told_wrong_is_found(name: str, which: int):
    r = report()
    values = list(r.values)
    values[which] = replace(values[which], **{name: getattr(values[which], name) + 1})
    with pytest.raises(PlanVerificationError, match="does not tell of"):
        replace(r, values=tuple(values)).check()


@pytest.mark.parametrize("change", [lambda v: v[1:], lambda v: (*v, v[0])])
def test_a_value_that_is_told_once_too_often_or_not_at_all_is_found(change: Callable[[Any], Any]):
    r = report()
    for name in ("values", "units", "loops"):
        with pytest.raises(PlanVerificationError, match="the report"):
            replace(r, **{name: change(getattr(r, name))}).check()


def test_blocks_that_are_told_wrong_are_found():
    r = report()
    first = r.values[0]
    other = next(i for i, v in enumerate(r.values) if v.offset != first.offset)
    values = (*r.values[:other], replace(r.values[other], block=first.block), *r.values[other + 1 :])
    with pytest.raises(PlanVerificationError, match="one block at"):
        replace(r, values=values).check()
    kept = next(i for i, v in enumerate(r.values) if v.status == "kept")
    values = (*r.values[:kept], replace(r.values[kept], status="recomputed"), *r.values[kept + 1 :])
    with pytest.raises(PlanVerificationError, match="is recomputed"):
        replace(r, values=values).check()


@pytest.mark.parametrize("name", ["phase", "flops", "times", "role", "source", "scope"])
def test_a_unit_that_is_told_wrong_is_found(name: str):
    r = report()
    value = getattr(r.units[3], name)
    unit = replace(r.units[3], **{name: value + ("x" if isinstance(value, str) else 1)})
    with pytest.raises(PlanVerificationError, match=f"{name} .* of unit 3"):
        replace(r, units=(*r.units[:3], unit, *r.units[4:])).check()


@pytest.mark.parametrize("name", ["first", "end", "length", "lanes"])
def test_a_loop_that_is_told_wrong_is_found(name: str):
    r = report()
    loop = replace(r.loops[0], **{name: getattr(r.loops[0], name) + 1})
    with pytest.raises(PlanVerificationError, match=f"{name} .* of loop 0"):
        replace(r, loops=(loop, *r.loops[1:])).check()


# ---- what is computed again


def nodes(graph: Graph) -> list[Node]:
    """All nodes, those in units and loops too."""
    found: list[Node] = []
    for node in graph.nodes:
        body = node.attrs.get("body")
        found += nodes(body) if isinstance(body, Graph) else [node]
    return found


def again(op: str, role: str) -> Node:
    """A node of this op that is computed again, in a role."""
    plan = report().plan
    assert plan is not None
    return next(n for n in nodes(plan.graph) if n.op.name == op and n.origin.role == role)


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Changes the attributes of a node for the time of a test."""

    def change(node: Node, **attrs: Any) -> None:
        for name, value in attrs.items():
            monkeypatch.setitem(node.attrs, name, value)

    return change


def test_dropout_of_another_stream_is_found_with_its_line(changed: Callable[..., None]):
    bits = again("random_bits", "backward")
    changed(bits, stream=bits.attrs["stream"] + 1000)
    with pytest.raises(PlanVerificationError, match=rf"{HERE}:\d+\) computes what the step does not"):
        report().check()


def test_a_number_that_is_another_the_second_time_is_found_with_its_line(changed: Callable[..., None]):
    number = again("full", "recompute")
    changed(number, value=number.attrs["value"] + 0.123)
    with pytest.raises(PlanVerificationError, match=rf"{HERE}:\d+\) computes again what the step does not"):
        report().check()


def test_another_operand_the_second_time_is_found_with_its_line():
    plan = report().plan
    assert plan is not None
    values = [v for node in plan.graph.nodes for v in node.outputs]
    made = {v: i for i, v in enumerate(values)}
    for unit in plan.graph.nodes:
        body = unit.attrs.get("body")
        computes_again = unit.op.name == "region" and all(n.origin.role == "recompute" for n in body.nodes)
        for at, value in enumerate(unit.inputs if computes_again else ()):
            twins = [v for v in values if v.type == value.type and made[v] < made.get(value, 0)]
            if not twins:
                continue
            inputs = unit.inputs
            unit.inputs = (*inputs[:at], twins[0], *inputs[at + 1 :])
            with pytest.raises(PlanVerificationError, match=rf"{HERE}:\d+\) computes (again )?what the step does not"):
                report().check()
            unit.inputs = inputs
            return
    raise AssertionError("nothing is computed again from what has a twin")


def test_another_result_is_found_with_its_line(monkeypatch: pytest.MonkeyPatch):
    r = report()
    assert r.plan is not None
    graph = r.plan.graph
    a, b = next((i, j) for i, v in enumerate(graph.outputs) for j, w in enumerate(graph.outputs)
                if i < j and v.type == w.type and i in graph.aliases and j in graph.aliases)  # fmt: skip
    outputs = list(graph.outputs)
    outputs[a], outputs[b] = outputs[b], outputs[a]
    monkeypatch.setattr(graph, "outputs", tuple(outputs))
    with pytest.raises(PlanVerificationError, match=f"output {a}, .* is not what the step makes"):
        r.check()
