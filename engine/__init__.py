"""What a user calls: tracing, derivatives, the array namespace."""

from . import array_api, data, nn, optim
from .saving.checkpoint_file import CheckpointError, CheckpointWarning
from .step.predict_graph import PredictGraph, trace_predict
from .step.step_graph import StepGraph, trace_step
from .tracing import random
from .tracing.trace import TracedFunction, trace, trace_with_structure
from .tracing.tracer import ShapeError, Trace, Tracer, TracingError, current_trace, emit, role, scope
from .tracing.transforms import checkpoint, grad, save, stop_gradient, value_and_grad, vjp

__all__ = [
    "CheckpointError",
    "CheckpointWarning",
    "PredictGraph",
    "ShapeError",
    "StepGraph",
    "Trace",
    "TracedFunction",
    "Tracer",
    "TracingError",
    "array_api",
    "checkpoint",
    "current_trace",
    "data",
    "emit",
    "grad",
    "nn",
    "optim",
    "random",
    "role",
    "save",
    "scope",
    "stop_gradient",
    "trace",
    "trace_predict",
    "trace_step",
    "trace_with_structure",
    "value_and_grad",
    "vjp",
]
