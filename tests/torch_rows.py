"""Functions and layers against torch's of the same names: one row is one call, made by keyword and by position."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

F = nn.functional
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}


@dataclass(frozen=True)
class Row:
    """A function of `torch.nn.functional` and its layer: `inputs` have gradients, `fixed` follow them and have none."""

    name: str
    inputs: tuple[Any, ...]
    layer: str = ""
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    fixed: tuple[Any, ...] = ()
    second: bool = True
    """Whether torch has second derivatives, and the same ones at kinks."""
    double: bool = True
    """Whether torch computes with float64's digits."""

    def __str__(self) -> str:
        shown = (f"{k}={_short(v)}" for k, v in self.options.items())
        return f"{self.name}({', '.join([*map(_short, (*self.inputs, *self.fixed)), *shown])})"


def _short(value: Any) -> str:
    return "x".join(map(str, value.shape)) or "scalar" if isinstance(value, np.ndarray) else str(value)


def assert_row_is_torchs(row: Row, dtype: str) -> None:
    """Values, gradients of a weighted sum and, in float64, their derivatives along a direction; the layer's too."""
    torch = pytest.importorskip("torch")

    def cast(value: Any) -> Any:
        is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        return value.astype(dtype) if is_float else value

    def tensor(value: Any) -> Any:
        return torch.tensor(value) if isinstance(value, np.ndarray) else value

    inputs, fixed = [cast(a) for a in row.inputs], [cast(a) for a in row.fixed]
    options = {name: cast(value) for name, value in row.options.items()}
    theirs = getattr(torch.nn.functional, row.name)
    tensors = [torch.tensor(a, requires_grad=True) for a in inputs]
    expected = theirs(*tensors, *map(tensor, fixed), **{name: tensor(v) for name, v in options.items()})
    ours: Callable[..., Any] = lambda *xs: getattr(F, row.name)(*xs, *fixed, **options)  # noqa: E731
    value = ours(*inputs)
    assert value.dtype == expected.detach().numpy().dtype
    assert value.shape == tuple(expected.shape)
    precision = dtype if row.double else "float32"
    close(value, expected.detach().numpy(), precision)
    placed = _by_position(theirs, options, len(inputs) + len(fixed))
    if placed is not None:
        np.testing.assert_array_equal(getattr(F, row.name)(*inputs, *fixed, *placed), value)
    if row.layer:
        _assert_layer(row, options, [*inputs, *fixed], value, torch)
    _assert_gradients(ours, expected, inputs, tensors, precision, row.second and dtype == "float64")


def close(actual: Any, expected: Any, dtype: str) -> None:
    """By the tolerance of a dtype."""
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def _by_position(theirs: Any, options: dict[str, Any], before: int) -> list[Any] | None:
    """The options in the order of torch's arguments, with its defaults between; `None` where it has no signature."""
    try:
        parameters = list(inspect.signature(theirs).parameters.values())[before:]
    except ValueError:
        return None
    if any(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in parameters) or not options:
        return None
    last = max(i for i, p in enumerate(parameters) if p.name in options)
    return [options.get(p.name, p.default) for p in parameters[: last + 1]]


def _assert_layer(row: Row, options: dict[str, Any], arguments: list[Any], value: Any, torch: Any) -> None:
    kind, theirs = getattr(nn, row.layer), getattr(torch.nn, row.layer)
    placed = _by_position(theirs, options, 0)
    for layer in (kind(**options), kind(*placed) if placed is not None else kind(**options)):
        for training in (False, True):
            result = nn.functional_call(layer, nn.init_parameters(layer), *arguments, training=training)
            np.testing.assert_array_equal(result, value)
        repr(layer)


def _assert_gradients(
    ours: Callable[..., Any], expected: Any, inputs: list[Any], tensors: list[Any], precision: str, second: bool
) -> None:
    import torch

    rng = np.random.default_rng(1)
    weight = rng.standard_normal(tuple(expected.shape)).astype(inputs[0].dtype)
    directions = [rng.standard_normal(a.shape).astype(a.dtype) for a in inputs]
    places = tuple(range(len(inputs)))
    first = torch.autograd.grad((expected * torch.tensor(weight)).sum(), tensors, create_graph=second)
    gradient = gl.grad(lambda *xs: (ours(*xs) * weight).sum(), argnums=places)
    for mine, other in zip(gradient(*inputs), first, strict=True):
        close(mine, other.detach().numpy(), precision)
    if not second:
        return
    along = sum((g * torch.tensor(d)).sum() for g, d in zip(first, directions))
    if not along.requires_grad:
        return
    others = torch.autograd.grad(along, tensors, allow_unused=True)
    mine = gl.grad(lambda *xs: sum((g * d).sum() for g, d in zip(gradient(*xs), directions)), argnums=places)(*inputs)
    for one, other in zip(mine, others, strict=True):
        close(one, np.zeros_like(one) if other is None else other.numpy(force=True), precision)
