"""Gradloom compiles a whole training step into one static, memory-planned program. You write NumPy."""

import sys

from .engine import array_api as numpy
from .engine import data, nn, optim, random
from .engine.checkpoint_file import CheckpointError, CheckpointWarning
from .engine.compile import compile
from .engine.errors import ShapeError, TracingError, TracingWarning
from .engine.report import MemoryReport
from .engine.scan import fori_loop, scan
from .engine.step import Step, compile_step, plan_step
from .engine.step_plan import MemoryBudgetError, StepPlan
from .engine.trace import trace
from .engine.transforms import checkpoint, grad, save, stop_gradient, value_and_grad, vjp
from .ir import Graph, interpret, parse, spec

# So that `import gradloom.numpy as gnp` works too.
sys.modules[f"{__name__}.numpy"] = numpy
for _name, _module in {
    "data": data,
    "nn": nn,
    "nn.functional": nn.functional,
    "nn.init": nn.init,
    "optim": optim,
    "optim.schedules": optim.schedules,
    "random": random,
}.items():
    sys.modules[f"{__name__}.{_name}"] = _module

__all__ = [
    "CheckpointError",
    "CheckpointWarning",
    "Graph",
    "MemoryBudgetError",
    "MemoryReport",
    "ShapeError",
    "Step",
    "StepPlan",
    "TracingError",
    "TracingWarning",
    "checkpoint",
    "compile",
    "compile_step",
    "data",
    "fori_loop",
    "grad",
    "interpret",
    "nn",
    "numpy",
    "optim",
    "parse",
    "plan_step",
    "random",
    "save",
    "scan",
    "spec",
    "stop_gradient",
    "trace",
    "value_and_grad",
    "vjp",
]
