"""What a user may write as `target`, and what a machine is told that cannot run it."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import pytest
from gradloom import nn, optim
from gradloom.engine.compile.targets import target_of
from gradloom.passes.target import Target, TargetError


def loss_fn(model: Any, batch: Any) -> Any:
    return model(batch).mean()


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("cpu", Target.cpu()),
        ("cpu:sse", Target.cpu("sse")),
        ("cuda", Target.cuda("sm_90")),
        ("cuda:sm_80", Target.cuda("sm_80")),
        ("cuda:rtx4090", Target.cuda("rtx4090")),
        ("cuda-emulated", Target.cuda("sm_90", emulated=True)),
        ("cuda-emulated:h200", Target.cuda("h200", emulated=True)),
    ],
)
def test_a_text_names_a_target(text: str, target: Target):
    assert target_of(text) == target


@pytest.mark.parametrize("text", ["tpu", "cuda:", "cpu:", ":", "", "CUDA", "gpu:h100", 3, None])
def test_any_other_is_refused_with_what_to_write(text: Any):
    with pytest.raises(TargetError, match=r"is not available; write target='cpu' .*'cuda:h100'"):
        target_of(text)


def test_threads_are_not_of_a_gpu():
    with pytest.raises(TargetError, match="threads is for the CPU, got 2 for 'cuda:l4', which runs 232 blocks"):
        gl.plan_step(nn.Linear(2, 1), loss_fn, optim.SGD(0.1), gl.spec((4, 2)), target="cuda:l4", threads=2)
    with pytest.raises(ValueError, match="threads is a whole number of 1 or more"):
        gl.plan_step(nn.Linear(2, 1), loss_fn, optim.SGD(0.1), gl.spec((4, 2)), threads=0)
