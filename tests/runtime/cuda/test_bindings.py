"""The real bindings, and machine code of CUDA's own assembler, over a driver that computes nothing."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gradloom.runtime.fake_gpu.driver import Code, FakeDriver

pytestmark = pytest.mark.cuda

SCRIPT = """
import sys
import gradloom as gl, numpy as np
from gradloom import nn, optim

batch = {"x": gl.spec((4, 6)), "y": gl.spec((4,), "int64")}
loss_fn = lambda model, batch: nn.cross_entropy(model(batch["x"]), batch["y"])
step = gl.compile_step(nn.Linear(6, 3), loss_fn, optim.AdamW(1e-2), batch, target="cuda")
given = {"x": np.ones((4, 6), np.float32), "y": np.zeros(4, np.int64)}
try:
    for _ in range(10):
        loss = step(given)
    print(float(loss), step.steps)
except RuntimeError as error:
    print(type(error).__name__, error)
    sys.exit()
step.set_parameters(step.parameters())
weight = step.device_arrays()["weight"]
weight.__dlpack__()
step(given)
decided = gl.compile(lambda x, n: gl.while_loop(lambda c: c < n, lambda c: c + x, x * 0), target="cuda")
decided(1.0, 3.0)
assert {m.partition(".")[0] for m in sys.modules} >= {"cuda"}
print("all is well")
"""


@pytest.fixture(scope="module")
def driver_of_nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("cuda.bindings.driver")
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler to make a driver with")
    folder = tmp_path_factory.mktemp("driver")
    source = Path(__file__).with_name("driver_of_nothing.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "libcuda.so.1", source, "-ldl"], check=True)
    return folder


def run(folder: Path, **environment: str) -> str:
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("LD_LIBRARY_PATH"))))
    environment = {**os.environ, "LD_LIBRARY_PATH": path, **environment}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_driver_takes_what_the_bindings_make_of_our_calls(driver_of_nothing: Path):
    assert run(driver_of_nothing) == "0.0 0\nall is well\n"


def test_its_errors_are_ours(driver_of_nothing: Path):
    told = run(driver_of_nothing, GRAPHS_FAIL="1")
    assert re.match(r"DeviceError .*not its own \(cuGraphLaunch gives CUDA_ERROR_OF_NOTHING \(700\)", told)


def test_the_fake_driver_has_the_functions_and_the_codes_of_the_bindings():
    driver: Any = pytest.importorskip("cuda.bindings.driver")
    for name, function in inspect.getmembers(FakeDriver, inspect.isfunction):
        if name.startswith("cu"):
            (given,) = re.findall(r"^\w+\((.*)\)$", getattr(driver, name).__doc__.splitlines()[0])
            assert len(inspect.signature(function).parameters) - 1 == len([a for a in given.split(",") if a]), name
    assert {code.value for code in Code} <= {int(code) for code in driver.CUresult}
