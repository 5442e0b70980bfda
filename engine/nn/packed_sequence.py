"""Sequences of several lengths in one batch, under the names of `torch.nn.utils.rnn`.

A packed sequence is here the padded batch with the lengths, which may be computed: shapes are static. A recurrent layer
that is given one passes over the padding, forward and backward, and its last states are those of the last elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from .. import array_api as xp
from ..array_api.broadcasting import as_arraylike, described, integer
from ..tracing.missing_names import attributes_of
from ..tracing.tracer import ShapeError, Tracer, TracingError, located

__all__ = [
    "PackedSequence",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class PackedSequence(NamedTuple):
    """`padded` (L, N, ...), of which the first `lengths` (N,) elements of each column count.

    What is computed of all elements is `packed._replace(padded=f(packed.padded))`.
    """

    padded: Any
    lengths: Any

    def kept(self) -> Any:
        """Which elements count, (L, N)."""
        return np.arange(self.padded.shape[0])[:, None] < xp.expand_dims(as_arraylike(self.lengths), 0)

    @property
    def data(self) -> NoReturn:
        """Torch's elements without padding, whose number is not known while tracing. Raises `AttributeError`."""
        instead = "write packed._replace(padded=f(packed.padded))"
        raise AttributeError(located(f"a packed sequence keeps its padding here and has no data; {instead}"))


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """The batch `input` (L, N, ...), with `batch_first` (N, L, ...), whose sequences have these lengths (N,).

    Lengths may be traced; known ones are from 1 to L, and what is behind the longest is cut off. Sequences may come in
    any order, whatever `enforce_sorted` says. Raises `ShapeError` or `ValueError` for lengths that do not fit.
    """
    x = as_arraylike(input)
    if x.ndim < 2:
        raise ShapeError(located(f"pack_padded_sequence: the input is (L, N, ...), got {described(x)}"))
    x = xp.swapaxes(x, 0, 1) if batch_first else x
    known = lengths if isinstance(lengths, Tracer) else np.asarray(lengths)
    if tuple(known.shape) != (x.shape[1],) or known.dtype.kind not in "iu":
        wanted = f"lengths are integers, one for each of {x.shape[1]} sequences"
        raise ShapeError(located(f"pack_padded_sequence: {wanted}, got {described(known)}"))
    if isinstance(known, np.ndarray) and known.size:
        if not 1 <= known.min() <= known.max() <= x.shape[0]:
            raise ValueError(located(f"pack_padded_sequence: lengths are from 1 to {x.shape[0]}, got {known.tolist()}"))
        x = x[: int(known.max())]
    return PackedSequence(x, known)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Any, Any]:
    """(batch, lengths): the batch is (L, N, ...), with `batch_first` (N, L, ...), and behind each sequence stands
    `padding_value`.

    L is that of the longest sequence, or for traced lengths that of the batch that was packed; `total_length` makes it
    longer. Raises `ValueError` for a smaller one.
    """
    _check_packed("pad_packed_sequence", sequence)
    x, kept = as_arraylike(sequence.padded), sequence.kept()
    x = xp.where(xp.reshape(kept, (*kept.shape, *(1,) * (x.ndim - 2))), x, np.asarray(padding_value, x.dtype))
    more = 0 if total_length is None else integer(total_length, "total_length") - x.shape[0]
    if more < 0:
        raise ValueError(located(f"pad_packed_sequence: total_length is {x.shape[0]} or more, got {total_length}"))
    if more:
        x = xp.concat([x, xp.full((more, *x.shape[1:]), padding_value, dtype=x.dtype)])
    return (xp.swapaxes(x, 0, 1) if batch_first else x), sequence.lengths


def pad_sequence(
    sequences: Sequence[Any], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Any:
    """Sequences (L_i, ...) as one batch (L, N, ...), with `batch_first` (N, L, ...): behind, or on the left before,
    those that are shorter than the longest stands `padding_value`.
    """
    if padding_side not in ("left", "right"):
        raise ValueError(located(f"pad_sequence: padding_side is 'left' or 'right', got {padding_side!r}"))
    arrays = [as_arraylike(each) for each in sequences]
    if not arrays or any(x.ndim < 1 or x.shape[1:] != arrays[0].shape[1:] for x in arrays):
        shapes = ", ".join(str(tuple(x.shape)) for x in arrays) or "none"
        raise ShapeError(located(f"pad_sequence: sequences (L, ...) differ in their first axis alone, got {shapes}"))
    longest = max(x.shape[0] for x in arrays)
    padded: list[Any] = []
    for x in arrays:
        filling = xp.full((longest - x.shape[0], *x.shape[1:]), padding_value, dtype=x.dtype)
        padded.append(xp.concat([filling, x] if padding_side == "left" else [x, filling]))
    return xp.stack(padded, axis=0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Any]:
    """The sequences of a batch (L, N, ...), each without its padding; lengths must be known. See `pad_sequence`."""
    if isinstance(lengths, Tracer):
        instead = "write pack_padded_sequence, or a mask of the elements that count"
        raise TracingError(located(f"unpad_sequence: shapes are static, and these lengths are computed; {instead}"))
    x = as_arraylike(padded_sequences)
    x = x if batch_first else xp.swapaxes(x, 0, 1)
    return [x[i, : int(n)] for i, n in enumerate(np.asarray(lengths))]


def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (L_i, ...) as a packed sequence, in any order."""
    lengths = np.array([as_arraylike(each).shape[0] for each in sequences], np.int64)
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Any]:
    """The sequences of a packed one, whose lengths must be known."""
    _check_packed("unpack_sequence", packed_sequences)
    return unpad_sequence(packed_sequences.padded, packed_sequences.lengths)


def _check_packed(what: str, given: Any) -> None:
    if not isinstance(given, PackedSequence):
        raise TypeError(located(f"{what} takes what pack_padded_sequence gives, got {type(given).__name__}"))


if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "nn.utils.rnn")
__dir__ = __all__.copy
