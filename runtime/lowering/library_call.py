"""Calls of a GPU's libraries: products by cuBLASLt, convolutions by cuDNN. Data alone, as launches are.

A call stands among the launches of a unit, and waits for those before it. What runs it binds `Address`es as it does the
words of kernels, chooses the algorithm before anything runs, and takes no memory but the workspace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from .launch import Address, Scratch

Compute = Literal["fp32", "tf32", "bf16", "fp64"]
"""What factors are multiplied as: float32, float32 rounded to TF32, bfloat16, float64. Sums are float32 or float64."""
Activation = Literal["none", "relu", "gelu_tanh"]


@dataclass(frozen=True, slots=True)
class Operand:
    """A matrix at an address; strides are in elements, one of them is 1 or along an axis of one element.

    `batch_stride` elements lie from one matrix of the batch to the next; 0 where all are one.
    """

    at: Address
    dtype: np.dtype[Any]
    rows: int
    columns: int
    row_stride: int
    column_stride: int
    batch_stride: int = 0


@dataclass(frozen=True, slots=True)
class ProductCall:
    """`result = activation(left @ right + added + bias)`, for each of `batches` matrices, by cuBLASLt.

    `added` lies as the result does, often in the same memory; `bias` has one element for each column.
    """

    library: ClassVar[str] = "cublaslt"

    left: Operand
    right: Operand
    result: Operand
    batches: int
    compute: Compute
    workspace: Scratch
    workspace_bytes: int
    added: Address | None = None
    bias: Address | None = None
    activation: Activation = "none"
    concurrent: bool = False


@dataclass(frozen=True, slots=True)
class ConvolutionCall:
    """A convolution, or one of its gradients, by cuDNN: of images (n, spatial..., channels), results (n, spatial...,
    channels out) and filters (channels out, kernel..., channels in / groups), each contiguous.

    `forward` computes the results, `data_gradient` the images, `filter_gradient` the filters, each of the two others.
    Images have `padding` zeros before and behind; a result meets every `stride`th place, a kernel every `dilation`th.
    What is computed is added to what stands there where it is `added`.
    """

    library: ClassVar[str] = "cudnn"

    kind: Literal["forward", "data_gradient", "filter_gradient"]
    images: Address
    filters: Address
    results: Address
    images_shape: tuple[int, ...]
    filters_shape: tuple[int, ...]
    results_shape: tuple[int, ...]
    padding: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    dtype: np.dtype[Any]
    compute: Compute
    workspace: Scratch
    workspace_bytes: int
    added: bool = False
    concurrent: bool = False


LibraryCall = ProductCall | ConvolutionCall
