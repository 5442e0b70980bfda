"""The report of a step: its figures agree with each other and with what is allocated."""

from __future__ import annotations

import json
import re
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim

ROWS = 32


class Blocks(nn.Module):
    """Linear maps with layer norms, each block checkpointed or not."""

    def __init__(self, checkpointed: bool) -> None:
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16), nn.LayerNorm(16)) for _ in range(3)]
        )
        self.out = nn.Linear(16, 4)
        self.checkpointed = checkpointed

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = x + (gl.checkpoint(block) if self.checkpointed else block)(x)
        return self.out(x)


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["x"]), batch["y"])


SPECS = {"x": gl.spec((ROWS, 16)), "y": gl.spec(ROWS, "int64")}


def report(checkpointed: bool = False, threads: int = 1) -> gl.MemoryReport:
    return gl.plan_step(Blocks(checkpointed), loss_fn, optim.AdamW(1e-3), SPECS, threads=threads).report


def held(step: gl.Step) -> int:
    """Bytes of all arrays that a step holds."""
    named = [*step._parameters.values(), *step._buffers.values(), *step._state.values()]
    return sum(array.nbytes for array in [*named, step._lr, step._key, step._arena])


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_certificate_holds(checkpointed: bool, threads: int):
    report(checkpointed, threads).check()


def test_parameters_and_state_are_counted_to_the_byte():
    r = report()
    parameters = 3 * (16 * 64 + 64 + 64 * 16 + 16 + 2 * 16) + 16 * 4 + 4
    assert r.parameter_bytes == 4 * parameters
    # Two moments; the number of steps, the learning rate and the key.
    assert r.state_bytes == 2 * 4 * parameters + 3 * 8
    assert r.constant_bytes == 0
    assert r.total_bytes == r.parameter_bytes + r.state_bytes + r.arena_bytes
    assert 0 < r.lower_bound_bytes <= r.arena_bytes


@pytest.mark.parametrize("accumulate", [1, 4])
def test_what_is_allocated_is_what_was_predicted(accumulate: int):
    options: dict[str, Any] = {"accumulate": accumulate, "clip_norm": 1.0, "threads": 2}
    makers: list[Any] = [gl.plan_step, gl.compile_step]
    plan, step = (make(Blocks(True), loss_fn, optim.AdamW(1e-3), SPECS, **options) for make in makers)
    assert plan.report.to_json() == step.report.to_json()
    assert held(step) == step.report.total_bytes


def test_arrays_that_the_loss_closes_over_are_counted():
    table = np.random.default_rng(0).standard_normal((ROWS, 16)).astype("float32")
    r = gl.plan_step(
        Blocks(False), lambda model, batch: loss_fn(model, {**batch, "x": batch["x"] + table}), optim.SGD(0.1), SPECS
    ).report
    assert r.constant_bytes == table.nbytes
    assert r.total_bytes == r.parameter_bytes + r.state_bytes + r.arena_bytes + table.nbytes


def test_values_fill_the_arena_to_its_end():
    r = report()
    for value in r.values:
        assert 0 <= value.offset <= value.offset + value.bytes <= r.arena_bytes
        assert 0 <= value.birth <= value.death <= r.phases
    ends = [max(v.offset + v.bytes for v in r.values if v.birth <= p <= v.death) for p in range(r.phases)]
    # Blocks begin at cache lines.
    assert max(ends) <= r.arena_bytes < max(ends) + 64


def test_values_say_where_they_come_from():
    r = report()
    kept = [v for v in r.values if v.status == "kept"]
    assert kept
    assert {v.status for v in r.values} == {"kept", "temporary"}
    assert any(v.scope == "blocks.1.0" for v in r.values)
    assert all(re.search(r"test_report\.py:\d+$", v.source) for v in kept)


def test_recomputing_is_reported():
    plain, checkpointed = report(False), report(True)
    assert plain.recompute_flops == 0
    assert plain.no_recompute_arena_bytes == plain.arena_bytes
    assert checkpointed.no_recompute_arena_bytes == plain.arena_bytes
    # Each block has two products of 2 * 32 * 16 * 64 operations, of which the backward needs the first again.
    assert checkpointed.recompute_flops >= 3 * 2 * ROWS * 16 * 64
    assert checkpointed.flops >= plain.flops
    assert any(v.status == "recomputed" for v in checkpointed.values)


def test_flops_of_the_products_dominate():
    r = gl.plan_step(
        nn.Sequential(nn.Linear(300, 400, bias=False)),
        lambda model, batch: nn.mse_loss(model(batch), np.float32(0) * batch[:, :1] + np.zeros((50, 400), "float32")),
        optim.SGD(0.1),
        gl.spec((50, 300)),
    ).report
    product = 2 * 50 * 300 * 400
    assert 2 * product <= r.flops < 2.2 * product


def test_json_has_every_figure():
    r = report(True)
    fields = json.loads(r.to_json())
    for name in ("parameter_bytes", "state_bytes", "arena_bytes", "total_bytes", "lower_bound_bytes", "flops"):
        assert fields[name] == getattr(r, name)
    assert len(fields["values"]) == len(r.values)
    assert fields["values"][0].keys() == {
        *("name", "scope", "source", "bytes", "birth", "death", "offset", "status", "why")
    }


def test_text_has_the_totals_and_the_largest_values():
    r = report()
    text = str(r)
    assert f"{r.total_bytes:,} bytes" in text
    assert f"runs in {r.phases} phases on 1 thread" in text
    assert "largest values in the arena:" in text
    assert "test_report.py:" in text


def test_a_plan_of_a_model_larger_than_the_machine():
    model = nn.Sequential(*[layer for _ in range(100) for layer in (nn.Linear(20_000, 20_000), nn.ReLU())])
    plan = gl.plan_step(
        model,
        lambda model, batch: nn.mse_loss(model(batch), batch),
        optim.AdamW(1e-3),
        gl.spec((64, 20_000)),
        memory="490GB",
        threads=2,
    )
    r = plan.report
    assert r.parameter_bytes == 4 * 100 * (20_000**2 + 20_000)
    assert r.state_bytes == 2 * r.parameter_bytes + 24
    # Each gradient is used up before the next but one is made.
    assert r.arena_bytes < 3 * 4 * 20_000**2
    r.check()
