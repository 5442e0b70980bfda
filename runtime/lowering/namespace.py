"""The names that kernel source may use."""

import math
from collections.abc import Mapping

import numpy as np

from ...ir.user_kernel import positional
from ..codegen import intrinsics, lapack
from ..codegen.array_kernel import FUNCTIONS, ArrayArgument, ArrayKernel
from ..codegen.column_product import column_product
from ..codegen.gpu_natives import GPU_NATIVES
from ..codegen.group_product import group_product
from ..codegen.halves import HALF_CONVERSIONS
from ..codegen.integer_math import INTEGER_MATH
from ..codegen.line_gradient import line_gradient
from ..codegen.pair_product import pair_columns, pair_product, pair_row
from ..codegen.tile_copy import tile_copy
from ..codegen.tile_dots import tile_dots
from ..codegen.tile_product import tile_product
from ..codegen.tile_transpose import tile_transpose
from ..codegen.vector_math.functions import SPECIAL_MATH, VECTOR_MATH
from ..codegen.weight_squares import pack_square, unpack_square
from . import (
    exponential_integrals,
    fourier_stages,
    hurwitz_zeta,
    incomplete_beta,
    incomplete_gamma,
    rank_messages,
    scalar_functions,
)
from .row_reductions import ROW_REDUCTIONS


def mix64(z):
    """SplitMix64's finalizer."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def kernel_namespace() -> Mapping[str, object]:
    """Everything that generated kernels call."""
    names: dict[str, object] = {
        "np": np,
        "inf": math.inf,
        "nan": math.nan,
        "f32": np.float32,
        "f64": np.float64,
        "i32": np.int32,
        "i64": np.int64,
        "u8": np.uint8,
        "u16": np.uint16,
        "u64": np.uint64,
        "boolean": np.bool_,
        "line_gradient": line_gradient,
        "column_product": column_product,
        "mix64": mix64,
        "group_product": group_product,
        "pack_square": pack_square,
        "pair_columns": pair_columns,
        "pair_product": pair_product,
        "pair_row": pair_row,
        "tile_copy": tile_copy,
        "tile_dots": tile_dots,
        "tile_product": tile_product,
        "tile_transpose": tile_transpose,
        "unpack_square": unpack_square,
    }
    functions = (
        scalar_functions,
        incomplete_gamma,
        incomplete_beta,
        hurwitz_zeta,
        exponential_integrals,
        fourier_stages,
        rank_messages,
    )
    for module in (intrinsics, lapack, *functions):
        names.update((name, value) for name, value in vars(module).items() if not name.startswith("_"))
    names.update(HALF_CONVERSIONS)
    names.update(GPU_NATIVES)
    names.update(ROW_REDUCTIONS)
    names.update(INTEGER_MATH)
    names.update((function.__name__, function) for function in (*VECTOR_MATH.values(), *SPECIAL_MATH.values()))
    names["window"], names["word"] = intrinsics.window, intrinsics.word
    names.update(ArrayArgument=ArrayArgument, ArrayKernel=ArrayKernel)
    names.update((symbol, positional(k.function) if k.elementwise else k) for symbol, k in FUNCTIONS.items())
    return names
