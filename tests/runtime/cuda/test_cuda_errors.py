"""What goes wrong on a GPU is one clear error, and leaves what was on the disk as it was."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn, optim
from gradloom.runtime.cuda.device import DeviceError
from gradloom.runtime.fake_gpu.driver import Code
from on_fake_gpu import fake_gpu

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def make_step(width: int = 2, rows: int = 4) -> Any:
    def loss_fn(model: Any, batch: Any) -> Any:
        return np.mean(model(batch) ** 2)

    return gl.compile_step(nn.Linear(3, width), loss_fn, optim.Adam(0.1), gl.spec((rows, 3)), target="cuda")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init_error": Code.NO_DEVICE}, r"no card that the driver finds \(cuInit gives 100\).*CUDA_VISIBLE_DEVICES"),
        ({"version": 11_080}, "too old a driver, for CUDA 11.8: install one for 12.0 or later"),
        ({"capabilities": ((8, 9),)}, "no card of sm_90: there is sm_89; write target='cuda:sm_89'"),
    ],
)
def test_what_is_missing_is_refused_with_the_way_to_get_it(options: dict[str, Any], message: str):
    with fake_gpu(**options), pytest.raises(gl.TargetError, match=f"{message}.*Write target='cpu'"):
        make_step()


def test_a_kernel_that_does_not_load_is_told_when_a_step_is_compiled():
    with fake_gpu() as driver:
        driver.fail_to_load(Code.NO_BINARY_FOR_GPU)
        with pytest.raises(DeviceError, match=r"a kernel for sm_90 does not load: .*NO_BINARY_FOR_GPU \(209\)"):
            make_step()
        driver.fail_to_load(Code.SUCCESS)
        make_step()(X)


def test_too_little_memory_is_refused_from_the_plan():
    with fake_gpu(memory_bytes=4 << 20) as driver:
        with pytest.raises(gl.TargetError, match=r"a step takes 1\d,\d{3},\d{3} bytes, and .* has 2,097,152 free of"):
            make_step(width=150_000)
        assert driver.calls.count("cuMemAlloc") == 1  # the error word


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda driver: driver.fail_at_launch(2, Code.ILLEGAL_ADDRESS), "a kernel accessed memory that is not its own"),
        (lambda driver: driver.lose_device(), "the GPU's memory has an error that cannot be corrected"),
    ],
)
def test_a_device_that_is_lost_says_so_from_then_on(break_it: Callable[[Any], None], why: str, tmp_path: Path):
    path = tmp_path / "checkpoint.safetensors"
    with fake_gpu() as driver:
        step = make_step()
        step(X)
        step.save(path)
        saved = path.read_bytes()
        break_it(driver)
        message = f"cannot be used any more in this process: {why} .*load the last checkpoint, which is untouched"
        for use in (
            lambda: float(step(X)),
            lambda: step(X),
            step.parameters,
            lambda: step.steps,
            lambda: step.save(path),
            lambda: step.bind(lambda model, x: model(x))(X),
            make_step,
        ):
            with pytest.raises(DeviceError, match=message):
                use()
        assert path.read_bytes() == saved
    with fake_gpu():  # another process
        again = make_step()
        again.load(path)
        assert again.steps == 1
        again(X)


def test_a_step_that_is_interrupted_while_it_is_given_to_the_device_leaves_what_was_done(monkeypatch: Any):
    with fake_gpu() as driver:
        step = make_step()
        step(X)

        def interrupted(*arguments: Any) -> Any:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(driver, "cuGraphLaunch", interrupted)
            with pytest.raises(KeyboardInterrupt):
                step(X)
        assert step.steps == 1
        step(X)
        assert step.steps == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_of_the_process_is_told_that_it_has_no_gpu():
    with fake_gpu():
        step = make_step()
        loss = step(X)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            said = []
            for use in (lambda: float(loss), lambda: step(X), step.parameters):
                try:
                    use()
                except DeviceError as error:
                    said.append(str(error))
            os.write(write, "\n".join(said).encode())
            os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        with os.fdopen(read) as pipe:
            said = pipe.read().splitlines()
        assert len(said) == 3
        assert all("CUDA does not survive a fork" in each for each in said)
        assert np.isfinite(loss)


def test_memory_is_that_of_the_plan_stays_so_and_comes_back():
    with fake_gpu() as driver:
        step = make_step()
        step(X)
        held = sorted(nbytes for nbytes in driver.allocations())
        assert step.report.arena_bytes in held
        for _ in range(30):
            step(X)
        step.parameters()
        assert sorted(driver.allocations()) == held
        del step
        gc.collect()
        step = make_step()
        step(X)
        assert sorted(driver.allocations()) == held


def test_what_nobody_refers_to_any_more_makes_room():
    with fake_gpu(memory_bytes=32 << 20):
        for _ in range(3):
            step = make_step(width=60_000)  # two of which do not fit
            del step


def test_a_machine_without_a_gpu_imports_nothing_of_cuda():
    code = (
        "import sys, gradloom as gl; from gradloom import nn, optim\n"
        "args = nn.Linear(2, 1), lambda m, b: m(b).mean(), optim.SGD(0.1), gl.spec((4, 2))\n"
        "gl.compile_step(*args)\n"
        "gl.plan_step(*args, target='cuda')\n"
        "found = {m.partition('.')[0] for m in sys.modules} & {'cuda', 'numba_cuda', 'nvmath', 'cudnn'}\n"
        "assert not found, found\n"
        "assert not [m for m in sys.modules if m.startswith('gradloom.runtime.cuda.device')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
