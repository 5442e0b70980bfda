"""What goes wrong on a GPU, and what is left then: a bad index, too little memory, an access of what is nobody's."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ...engine import optim
from ...engine.step.compile_step import compile_step
from ...ir import spec
from ...passes.target import TargetError
from ...runtime.cuda.device import DeviceError
from ...runtime.fake_gpu.driver import Code
from ..recipes.classification import loss, perceptron
from .bits import unequal
from .gpu import Session, session
from .report import Report
from .small import SMALL, batches, small_step, train
from .stages import Options

WILD = "def kernel(b):\n    x = array_f32(word(b, 0), 0)\n    x[thread_index()] = 1.0\n    return i64(0)\n"
"""Writes to an address that it is given."""


def run(report: Report, options: Options) -> None:
    """The last of them ends the context."""
    with session(options) as gpu:
        _bad_index(report, gpu)
        _no_room(report, gpu)
        _wild_access(report, gpu)


def _bad_index(report: Report, gpu: Session) -> None:
    """A class that is out of range is the user's error; nothing has changed, and the next step goes on."""
    step = small_step("mlp", gpu.target)
    before = train(step, "mlp", 2)
    (wrong,) = batches(SMALL["mlp"]().batch, 1)
    wrong["y"][3] = 10
    try:
        told = f"a loss of {float(step(wrong))}"
    except IndexError as error:
        told = str(error)
    report.check("an index out of range is refused", "out of range for 10 entries" in told, told)
    after = {f"parameter {name}": np.array(value) for name, value in step.parameters().items()}
    after |= {f"state {name}": np.array(value) for name, value in step.state().items()}
    different = unequal(after, {name: before[name] for name in after})
    report.check("behind it parameters and state are as they were", not different, different)
    again = small_step("mlp", gpu.target)
    train(again, "mlp", 2)
    different = unequal(train(step, "mlp", 1), train(again, "mlp", 1))
    report.check("the next step is that of a run without it", not different, different)


def _no_room(report: Report, gpu: Session) -> None:
    """A step that the card has no memory for is refused before anything is allocated."""
    before, total = gpu.free_bytes(), gpu.gpu.device.free_bytes()[1]
    width = 1024
    rows = total // (4 * width)  # one layer's outputs take all of the memory
    batch: Any = {"x": spec((rows, width), "float32"), "y": spec((rows,), "int64")}
    try:
        compile_step(perceptron(width, width, 10), loss, optim.SGD(0.1), batch, target=gpu.target)
        told = "it was compiled"
    except TargetError as error:
        told = str(error)
    report.check("a step larger than the card is refused", "free of" in told, told)
    after = gpu.free_bytes()
    report.check("nothing was allocated for it", after == before, f"{before:,} and {after:,} bytes free")


def _wild_access(report: Report, gpu: Session) -> None:
    """An access of what is nobody's memory ends the context; the error says so, and the checkpoint is whole."""
    step = small_step("mlp", gpu.target)
    expected = train(step, "mlp", 2)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "step.safetensors")
        step.save(file)
        content = file.read_bytes()
        if gpu.driver is not None:
            gpu.driver.fail_at_launch(0, Code.ILLEGAL_ADDRESS)
        else:
            _launch_wild(gpu)
        try:
            told = f"a loss of {float(step(batches(SMALL['mlp']().batch, 1)[0]))}"
        except DeviceError as error:
            told = str(error)
        report.check("a lost device is an error that says what to do", "step.load the last checkpoint" in told, told)
        report.check("the checkpoint is untouched", file.read_bytes() == content)
        rescued = small_step("mlp", gpu.emulated)
        rescued.load(file)
        held = {name: value for name, value in expected.items() if name.startswith("parameter")}
        found = {f"parameter {name}": np.array(value) for name, value in rescued.parameters().items()}
        different = unequal(found, held)
        report.check("it loads on another target", not different, different)


def _launch_wild(gpu: Session) -> None:
    device = gpu.gpu.device
    gpu.gpu.modules.load([(WILD, 1)])
    words = np.array([1 << 50, 0], np.int64)
    pointers = words.ctypes.data + 8 * np.arange(2, dtype=np.int64)
    function = gpu.gpu.modules.function(WILD, 1)
    device.call("cuLaunchKernel", function, 1, 1, 1, 32, 1, 1, 0, device.stream, pointers.ctypes.data, 0)
