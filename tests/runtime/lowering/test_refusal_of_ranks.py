"""What ends a run because another rank is gone is said to be that."""

from __future__ import annotations

import gradloom as gl
from gradloom import nn
from gradloom.ir.ops import collectives
from gradloom.runtime.lowering.launch import Trap
from gradloom.runtime.lowering.refusal import refusal


def test_a_message_that_did_not_arrive_is_no_index_out_of_range():
    batch = {"x": gl.spec((8, 3)), "y": gl.spec((8, 2))}
    plan = gl.plan_step(
        nn.Linear(3, 2), lambda m, b: nn.mse_loss(m(b["x"]), b["y"]), gl.optim.SGD(0.1), batch, ranks=2, parts=2
    )
    waits = [node for node in plan.plan.graph.nodes if node.op is collectives.finish]
    assert waits
    error = refusal(Trap(waits[0], 0))
    assert isinstance(error, ConnectionError)
    assert "a message did not arrive" in str(error)
