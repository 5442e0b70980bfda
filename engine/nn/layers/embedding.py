"""Tables of embeddings: rows by index, one by one or in bags."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ...tracing.tracer import ShapeError, located
from .. import functional as F
from .. import init
from ..functional.embedding import check_max_norm, check_mode
from ..module import Module
from ..parameter import Parameter
from ..state_dict import plain_array


class _Table(Module):
    """The weight (num_embeddings, embedding_dim), and what both layers take."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        max_norm: float | None,
        norm_type: float,
        scale_grad_by_freq: bool,
        sparse: bool,
        weight: Any,
        freeze: bool,
        dtype: npt.DTypeLike,
    ) -> None:
        what = type(self).__name__
        check_max_norm(f"nn.{what}", max_norm)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(located(f"padding_idx {padding_idx} is not among {num_embeddings} embeddings"))
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        draw = init.normal() if padding_idx is None else init.with_zero_row(init.normal(), padding_idx)
        shape = (num_embeddings, embedding_dim)
        if weight is not None:
            array = plain_array(weight)
            if array.shape != shape:
                raise ShapeError(located(f"{what}: the weight is {array.shape}, expected {shape}"))
            draw, dtype = init.constant(array.copy()), array.dtype if array.dtype == np.float64 else "float32"
        self.weight = Parameter(shape, dtype, draw, requires_grad=not freeze)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Embedding(_Table):
    """Rows of weight (num_embeddings, embedding_dim), drawn from N(0, 1), by integer index.

    Row `padding_idx` is zeros at first and gets no gradient. With `scale_grad_by_freq` the gradient of a row is divided
    by how often it is looked up. With `sparse` it is trained by an optimizer that leaves rows alone which a step
    has not looked up: SGD or Adagrad without weight decay, or SparseAdam, whose moments change in the same rows.
    `max_norm` is not supported.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Any = None,
        _freeze: bool = False,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        super().__init__(
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight,
            _freeze,
            dtype,
        )

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Self:
        """A table that begins with the rows of an array or a tensor, and with `freeze` keeps them."""
        rows, dim = _table_shape(embeddings)
        return cls(
            rows, dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight=embeddings, _freeze=freeze
        )

    def forward(self, input: Any) -> Any:
        return F.embedding(input, self.weight, self.padding_idx, scale_grad_by_freq=self.scale_grad_by_freq)


class EmbeddingBag(_Table):
    """`functional.embedding_bag` of weight (num_embeddings, embedding_dim), drawn from N(0, 1): the sum, the mean or
    the maximum of the rows of each bag of indices.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Any = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        check_mode("EmbeddingBag", mode, scale_grad_by_freq, False)
        super().__init__(
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight,
            False,
            dtype,
        )
        self.mode = mode
        self.include_last_offset = include_last_offset

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> Self:
        """A table that begins with the rows of an array or a tensor, and with `freeze` keeps them."""
        rows, dim = _table_shape(embeddings)
        table = cls(
            rows,
            dim,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            mode,
            sparse,
            embeddings,
            include_last_offset,
            padding_idx,
        )
        table.weight.requires_grad = not freeze
        return table

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        return F.embedding_bag(
            input,
            self.weight,
            offsets,
            scale_grad_by_freq=self.scale_grad_by_freq,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode!r}"


def _table_shape(embeddings: Any) -> tuple[int, int]:
    shape = tuple(embeddings.shape) if hasattr(embeddings, "shape") else np.shape(embeddings)
    if len(shape) != 2:
        raise ShapeError(located(f"from_pretrained takes embeddings (num, dim), got shape {shape}"))
    return shape
