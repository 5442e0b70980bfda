"""What is done to parameters, under the names of `torch.nn.utils`: compute them of others, by spectral norm, weight
norm or a module of the user's, read and write them as one vector, and fuse them with those of a normalization.
"""

from typing import TYPE_CHECKING

from ...tracing.missing_names import attributes_of
from .. import packed_sequence as rnn
from . import parametrizations, parametrize
from .by_name import remove_spectral_norm, remove_weight_norm, spectral_norm, weight_norm
from .fusing import fuse_conv_bn_eval, fuse_conv_bn_weights, fuse_linear_bn_eval, fuse_linear_bn_weights
from .skip_init import skip_init
from .total_norm import get_total_norm
from .vectors import parameters_to_vector, vector_to_parameters

__all__ = [
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
    "get_total_norm",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "remove_spectral_norm",
    "remove_weight_norm",
    "rnn",
    "skip_init",
    "spectral_norm",
    "vector_to_parameters",
    "weight_norm",
]

if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "nn.utils")
__dir__ = __all__.copy
