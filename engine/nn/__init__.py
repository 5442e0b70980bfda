"""Models: modules, layers and functions under PyTorch's names."""

from . import functional, init
from .binding import Binding, bind, functional_call, init_buffers, init_parameters
from .containers import ModuleDict, ModuleList, ParameterList, Residual, Sequential
from .functional import *  # noqa: F403
from .functional import __all__ as _functions
from .layers import *  # noqa: F403
from .layers import __all__ as _layers
from .module import Module
from .parameter import Buffer, Parameter

__all__ = [
    "Binding",
    "Buffer",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ParameterList",
    "Residual",
    "Sequential",
    "bind",
    "functional",
    "functional_call",
    "init",
    "init_buffers",
    "init_parameters",
    *_functions,
    *_layers,
]
