"""A backend runs the plans of its device; a target that this machine cannot run is refused when compiling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.passes.pipeline import plan_graph
from gradloom.passes.target import Target
from gradloom.runtime.backend import backend_of, backend_replaced
from gradloom.runtime.codegen.host import cpu_of, host_cpu, runnable
from gradloom.runtime.fake_gpu.backend import fake_cuda
from gradloom.runtime.fake_gpu.driver import FakeDriver

FOREIGN = "avx2" if host_cpu() == "neon" else "neon"


def f(x: Any, w: Any) -> Any:
    return np.tanh(x @ w).sum(axis=0)


@pytest.mark.parametrize(
    ("machine", "features", "name"),
    [
        ("x86_64", {"sse2", "avx", "avx2", "fma", "avx512f"}, "avx512"),
        ("AMD64", {"sse2", "avx", "avx2", "fma"}, "avx2"),
        ("x86_64", {"sse2", "avx", "avx2"}, "sse"),
        ("x86_64", set(), "sse"),
        ("arm64", set(), "neon"),
        ("aarch64", {"sve"}, "neon"),
        ("riscv64", set(), "generic"),
    ],
)
def test_a_host_is_known_by_its_instructions(machine: str, features: set[str], name: str):
    assert cpu_of(machine, features) == name


def test_the_cpu_is_this_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GRADLOOM_TARGET", raising=False)
    assert gl.Target.cpu() is gl.Target.cpu(host_cpu())
    assert runnable()[0] == host_cpu()
    plan = gl.plan_step(nn.Linear(3, 2), lambda m, b: m(b).mean(), optim.SGD(0.1), gl.spec((4, 3)))
    assert plan.report.target is gl.Target.cpu()


def test_a_program_runs_through_the_protocol():
    target = Target.cpu()
    graph = gl.trace(f, gl.spec((4, 3)), gl.spec((3, 5)))
    backend = backend_of(target)
    program = backend.build(plan_graph(graph, target=target))
    x, w = np.random.default_rng(0).standard_normal((2, 5, 3), "float32")
    x, w, result = x[:4].copy(), w.T.copy(), np.empty(5, "float32")
    program.run([x, w], [result])
    np.testing.assert_allclose(result, f(x, w), rtol=1e-5)
    assert program.plan.target is target
    assert len(program.kernels) == len(program.kernel_users)
    memory = backend.allocate(program.arena_bytes)
    assert memory.nbytes == program.arena_bytes
    program.use_arena(memory)
    program.bind_input(0, x)
    program.bind_input(1, w)
    program.bind_output(0, result)
    before, result[...] = result.copy(), 0
    program.run()
    np.testing.assert_array_equal(result, before)


def test_every_target_that_this_machine_runs_gives_the_values():
    x, w = np.random.default_rng(0).standard_normal((2, 20, 20), "float32")
    for name in runnable():
        np.testing.assert_allclose(gl.compile(f, target=gl.Target.cpu(name))(x, w), f(x, w), rtol=1e-4)


def test_the_environment_names_another_target(monkeypatch: pytest.MonkeyPatch):
    x, w = np.random.default_rng(0).standard_normal((2, 20, 20), "float32")
    for name in runnable():
        monkeypatch.setenv("GRADLOOM_TARGET", name)
        assert gl.Target.cpu() is gl.Target.cpu(name)
        np.testing.assert_allclose(gl.compile(f)(x, w), f(x, w), rtol=1e-4)
        step = gl.compile_step(nn.Linear(3, 2), lambda m, b: m(b).mean(), optim.SGD(0.1), gl.spec((4, 3)))
        assert step.report.target is gl.Target.cpu(name)


def test_the_environment_may_name_a_target_to_plan_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADLOOM_TARGET", FOREIGN)
    plan = gl.plan_step(nn.Linear(3, 2), lambda m, b: m(b).mean(), optim.SGD(0.1), gl.spec((4, 3)))
    assert plan.report.target is gl.Target.cpu(FOREIGN)
    with pytest.raises(gl.TargetError, match=f"cannot run .*'cpu:{FOREIGN}'.*GRADLOOM_TARGET={FOREIGN} says so"):
        gl.compile(f)
    monkeypatch.setenv("GRADLOOM_TARGET", "avx9")
    with pytest.raises(gl.TargetError, match="'avx9' is no CPU target; it is one of avx512, avx512_bf16"):
        gl.compile(f)


@pytest.mark.parametrize("make", [gl.compile, gl.compile_step])
def test_a_target_of_another_machine_is_refused_before_anything_is_traced(make: Any):
    arguments = (f,) if make is gl.compile else (nn.Linear(2, 2), f, optim.SGD(0.1), gl.spec((2, 2)))
    with pytest.raises(gl.TargetError, match=f"this machine, '{host_cpu()}', cannot run .*'cpu:{FOREIGN}'.*plan_step"):
        make(*arguments, target=gl.Target.cpu(FOREIGN))
    with pytest.raises(gl.TargetError, match="nothing here runs 'tpu:v1'; there are backends for cpu"):
        make(*arguments, target=replace(gl.Target.cpu("sse"), device="tpu", name="v1"))
    for wrong in ("gpu", "avx2", 3, None):
        with pytest.raises(gl.TargetError, match=r"is not available; write target='cpu'.*gl.Target.cpu\('avx2'\)"):
            make(*arguments, target=wrong)


@pytest.mark.parametrize("target", ["cuda", "cuda:a100"])
def test_a_gpu_that_is_not_there_is_planned_for_and_refused_before_anything_is_traced(target: str):
    with backend_replaced("cuda", fake_cuda(FakeDriver(capabilities=((7, 5),)))):
        message = r"cannot run 'cuda:.*': it has no card of sm_\d0: there is sm_75.*plan_step\(..., target='cuda:"
        with pytest.raises(gl.TargetError, match=message):
            gl.compile(f, target=target)
        with pytest.raises(gl.TargetError, match="Write target='cpu'"):
            gl.compile_step(nn.Linear(3, 2), f, optim.SGD(0.1), gl.spec((4, 3)), target=target)
