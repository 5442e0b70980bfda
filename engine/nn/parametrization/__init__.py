"""Parameters that are computed of others, under the names of `torch.nn.utils`: spectral norm, weight norm, or a module
of the user's.
"""

from typing import TYPE_CHECKING

from ...tracing.missing_names import attributes_of
from . import parametrizations, parametrize
from .by_name import remove_spectral_norm, remove_weight_norm, spectral_norm, weight_norm
from .vectors import parameters_to_vector, vector_to_parameters

__all__ = [
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "remove_spectral_norm",
    "remove_weight_norm",
    "spectral_norm",
    "vector_to_parameters",
    "weight_norm",
]

if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "nn.utils")
__dir__ = __all__.copy
