"""Gradloom compiles a whole training step into one static, memory-planned program. You write NumPy."""

import importlib.metadata
import sys
from typing import TYPE_CHECKING

from .engine import array_api as numpy
from .engine import data, nn, optim, ranks
from .engine.array_api import special
from .engine.compile.compile import compile
from .engine.fit import callbacks, metrics
from .engine.fit.evaluate import evaluate
from .engine.fit.fit import fit
from .engine.onnx.errors import OnnxError
from .engine.onnx.from_onnx import from_onnx
from .engine.report.schema import MemoryReport
from .engine.saving.checkpoint_file import CheckpointError, CheckpointWarning, load_arrays, save_arrays
from .engine.step.compile_step import compile_step, plan_step
from .engine.step.curvature import curvature
from .engine.step.interpolate import interpolate
from .engine.step.loaded import Loaded, load
from .engine.step.plans import StepPlan
from .engine.step.refusal import MemoryBudgetError
from .engine.step.step import Step
from .engine.torch_import.from_torch import from_torch, from_torch_loss
from .engine.tracing import debug, random, tree
from .engine.tracing.check_grads import check_grads
from .engine.tracing.cond import cond
from .engine.tracing.custom_op import custom_op
from .engine.tracing.custom_vjp import custom_vjp
from .engine.tracing.errors import ShapeError, TracingError, TracingWarning
from .engine.tracing.jacobians import hessian, hessian_vector_product, jacfwd, jacobian, jacrev
from .engine.tracing.jvp import jvp
from .engine.tracing.missing_names import attributes_of
from .engine.tracing.scan import fori_loop, scan
from .engine.tracing.trace import trace
from .engine.tracing.transforms import checkpoint, grad, save, stop_gradient, value_and_grad, vjp
from .engine.tracing.vmap import vmap
from .engine.tracing.while_loop import while_loop
from .ir import Graph, interpret, parse, spec
from .passes.target import Target, TargetError

_FACES = {
    "callbacks": callbacks,
    "data": data,
    "debug": debug,
    "metrics": metrics,
    "nn": nn,
    "nn.augment": nn.augment,
    "nn.functional": nn.functional,
    "nn.init": nn.init,
    "nn.utils": nn.utils,
    "nn.utils.parametrizations": nn.utils.parametrizations,
    "nn.utils.parametrize": nn.utils.parametrize,
    "nn.utils.rnn": nn.utils.rnn,
    "numpy": numpy,
    "numpy.fft": numpy.fft,
    "numpy.linalg": numpy.linalg,
    "optim": optim,
    "optim.schedules": optim.schedules,
    "random": random,
    "ranks": ranks,
    "special": special,
    "tree": tree,
}
# So that `import gradloom.numpy as gnp` works too; type checkers and editors read faces/ for it.
for _name, _module in _FACES.items():
    sys.modules[f"{__name__}.{_name}"] = _module

__all__ = [
    "CheckpointError",
    "CheckpointWarning",
    "Graph",
    "Loaded",
    "MemoryBudgetError",
    "MemoryReport",
    "OnnxError",
    "ShapeError",
    "Step",
    "StepPlan",
    "Target",
    "TargetError",
    "TracingError",
    "TracingWarning",
    "callbacks",
    "check_grads",
    "checkpoint",
    "compile",
    "compile_step",
    "cond",
    "curvature",
    "custom_op",
    "custom_vjp",
    "data",
    "debug",
    "evaluate",
    "fit",
    "fori_loop",
    "from_onnx",
    "from_torch",
    "from_torch_loss",
    "grad",
    "hessian",
    "hessian_vector_product",
    "interpolate",
    "interpret",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "load",
    "load_arrays",
    "metrics",
    "nn",
    "numpy",
    "optim",
    "parse",
    "plan_step",
    "random",
    "ranks",
    "save",
    "save_arrays",
    "scan",
    "spec",
    "special",
    "stop_gradient",
    "trace",
    "tree",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]

if TYPE_CHECKING:
    __version__: str
else:
    __getattr__ = attributes_of(
        __name__,
        __all__,
        "gl",
        {f"gl.{name}": module.__all__ for name, module in _FACES.items() if "." not in name},
        made={"__version__": lambda: importlib.metadata.version(__name__)},
    )


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
