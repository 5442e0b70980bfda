"""Calls that torch tests its own functions and modules with, made here too: `python tests/torch_samples.py float64`
prints how many agree, are refused, or differ.

Functions come from `op_db` (torch's OpInfo), modules from `module_db` (ModuleInfo) of `torch.testing._internal`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sys
import types
import unittest
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradloom as gl
import numpy as np
import optree
from gradloom import nn

F = nn.functional
TOLERANCE = {"float64": 1e-9, "float32": 2e-4, "": 1e-6}
"""By the dtype of the arguments; of integers torch makes float32, and NumPy float64."""
LOOSER = {"hardsigmoid": 1e-7}
"""Functions whose derivative has digits of float32 in torch, whatever the dtype is."""
WEIGHT_FIRST = ("embedding", "embedding_bag")
"""Functions whose samples have the weight where the function has the indices."""
_WHERE = re.compile(r", at \S+:\d+")


@dataclass(frozen=True)
class Outcome:
    """How a call went: "agreed", "drawn" (shapes and dtypes agree, values are random), "refused" by a clear error,
    "wrong", "crash" for any other error, or "missing".
    """

    kind: str
    what: str = ""


@dataclass(frozen=True)
class Sample:
    """A call of `torch.nn.functional.name`; the tensors among its arguments are the leaves that torch may change."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __str__(self) -> str:
        said = [*map(_short, self.args), *(f"{name}={_short(value)}" for name, value in self.kwargs.items())]
        return f"{self.name}({', '.join(said)})"


def tables() -> tuple[list[Any], list[Any]]:
    """torch's `op_db` and `module_db`. Importing them leaves Hypothesis and warnings as they were."""
    import hypothesis

    if importlib.util.find_spec("expecttest") is None:  # torch's base class of tests, which needs it, runs nowhere here
        stub: Any = types.ModuleType("expecttest")
        stub.TestCase = unittest.TestCase
        stub.__spec__ = importlib.util.spec_from_loader("expecttest", None)
        sys.modules["expecttest"] = stub
    profile = hypothesis.settings.get_current_profile_name()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
        from torch.testing._internal.common_modules import module_db
    hypothesis.settings.load_profile(profile)
    return op_db, module_db


def functions(dtype: str) -> Iterator[tuple[str, Any]]:
    """Names of functions of `torch.nn.functional` and their entries that take the dtype."""
    import torch

    for entry in tables()[0]:
        if entry.name.startswith("nn.functional.") and getattr(torch, dtype) in entry.dtypes:
            yield entry.name.removeprefix("nn.functional."), entry


def samples(name: str, entry: Any, dtype: str) -> list[Sample]:
    """The calls of one entry, the same ones every time."""
    import torch

    torch.manual_seed(0)
    made = entry.sample_inputs("cpu", getattr(torch, dtype), requires_grad=dtype.startswith("float"))
    return [sample_of(name, sample) for sample in made]


def sample_of(name: str, sample: Any) -> Sample:
    """A `SampleInput` of torch's as a call."""
    args = (sample.input, *sample.args)
    args = (args[1], args[0], *args[2:]) if name in WEIGHT_FIRST else args
    return Sample(name, args, dict(sample.kwargs))


def some(items: Sequence[Any], most: int | None) -> list[Any]:
    """So many of the items, from all over the list; all of them for `None`."""
    if most is None or len(items) <= most:
        return list(items)
    return [items[i] for i in sorted(np.random.default_rng(0).choice(len(items), most, replace=False))]


def judged(sample: Sample, transform: Callable[[Any], Any] = lambda fn: fn) -> Outcome:
    """Make the call by both: results, and gradients of a weighted sum of them by all float arrays. Ours is made by
    `transform(function)`, such as `gl.compile(function)`.
    """
    import torch

    ours = getattr(F, sample.name, None)
    if ours is None:
        return Outcome("missing")
    tree = _mapped(_detached, (sample.args, sample.kwargs))
    args, kwargs = tree
    with _quiet():
        expected = getattr(torch.nn.functional, sample.name)(*args, **kwargs)

    def call(arrays: Sequence[Any]) -> Any:
        given, named = _with_arrays(tree, arrays)
        return ours(*given, **named)

    tolerance = LOOSER.get(sample.name, TOLERANCE[_dtype_of(tree)])
    return _compared(call, tensors(tree), expected, [], tolerance, transform)


def _compared(
    call: Callable[[Sequence[Any]], Any],
    given: list[Any],
    expected: Any,
    parameters: list[Any],
    tolerance: float,
    transform: Callable[[Any], Any] = lambda fn: fn,
) -> Outcome:
    """`call` of the arrays of the tensors `given`, and of the parameters after them, against torch's results."""
    everything = [*given, *parameters]
    arrays = [_array(t) for t in everything]
    places = [i for i, tensor in enumerate(everything) if tensor.requires_grad]
    results = tensors(expected)
    rng = np.random.default_rng(1)
    weights = [rng.standard_normal(tuple(r.shape)).astype(_array(r).dtype) if _is_float(r) else None for r in results]

    def loss(*floats: Any) -> Any:
        values = list(arrays)
        for i, value in zip(places, floats, strict=True):
            values[i] = value
        result = call(values)
        pairs = zip(optree.tree_leaves(result), weights)
        return sum(((r * w).sum() for r, w in pairs if w is not None), 0.0 * floats[0].sum() if floats else 0.0), result

    def run(key: int) -> tuple[list[Any], Any]:
        with gl.random.key(key):
            if not places:
                return optree.tree_leaves(loss()[1]), ()
            both = gl.value_and_grad(loss, tuple(range(len(places))), has_aux=True)
            (_, result), gradients = transform(both)(*(arrays[i] for i in places))
        return optree.tree_leaves(result), gradients

    try:
        with _quiet():
            found, gradients = run(0)
    except Exception as error:
        clear = isinstance(error, (NotImplementedError, TypeError, ValueError, IndexError)) and _WHERE.search(
            str(error)
        )
        return Outcome("refused" if clear else "crash", f"{type(error).__name__}: {error}")
    whole = all(t.dtype.is_floating_point for t in given[:1])
    problem = _difference(found, [_array(r) for r in results], tolerance, whole)
    if problem.startswith("values") and any(_differ(found, run(key)[0]) for key in range(1, 10)):
        return Outcome("drawn")
    if problem:
        return Outcome("wrong", problem)
    exact = _gradients(results, weights, [everything[i] for i in places])
    problem = _difference(list(gradients), exact, tolerance, True)
    return Outcome("wrong", f"gradient: {problem}") if problem else Outcome("agreed")


def _differ(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return any(not np.array_equal(a, b) for a, b in zip(some, others))


def _gradients(results: list[Any], weights: list[Any], wanted: list[Any]) -> list[Any]:
    import torch

    total: Any = sum((r * torch.tensor(w)).sum() for r, w in zip(results, weights) if w is not None)
    if not wanted or not getattr(total, "requires_grad", False):
        return [np.zeros(tuple(t.shape)) for t in wanted]
    found = torch.autograd.grad(total, wanted, allow_unused=True)
    return [np.zeros(tuple(t.shape)) if g is None else g.numpy() for g, t in zip(found, wanted)]


def _difference(found: Sequence[Any], expected: Sequence[Any], tolerance: float, dtypes: bool) -> str:
    """What differs; results of integers may have NumPy's dtype, unless `dtypes` are compared."""
    if len(found) != len(expected):
        return f"{len(found)} results for {len(expected)}"
    for mine, other in zip(found, expected):
        if np.shape(mine) != other.shape:
            return f"shape {np.shape(mine)} for {other.shape}"
        if dtypes and other.dtype != np.asarray(mine).dtype and other.any():
            return f"dtype {np.asarray(mine).dtype} for {other.dtype}"
        if not np.allclose(mine, other, rtol=tolerance, atol=tolerance, equal_nan=True):
            return f"values, by up to {np.abs(np.asarray(mine, 'f8') - other).max():.3g}"
    return ""


# Modules.


def module_inputs(entry: Any, training: bool, dtype: str = "float64") -> list[Any]:
    """The constructor's and forward's arguments that torch tests a module with."""
    import torch

    torch.manual_seed(0)
    with _quiet():
        made = entry.module_inputs_func(
            entry, device="cpu", dtype=getattr(torch, dtype), requires_grad=True, training=training
        )
        return [each for each in made if each.forward_input is not None]


def judged_module(entry: Any, inputs: Any, training: bool) -> Outcome:
    """Construct by both, compare names, shapes, dtypes and order of what the state dicts hold, then forward and
    gradients by all parameters and float inputs.
    """
    import torch

    name, made = entry.name.removeprefix("nn."), inputs.constructor_input
    tree = _mapped(_detached, (inputs.forward_input.args, inputs.forward_input.kwargs))
    torch.manual_seed(0)
    with _quiet():
        theirs = entry.module_cls(*made.args, **made.kwargs).to(torch.float64).train(training)
        if name.startswith("Lazy"):
            theirs(*tree[0], **tree[1])
        state = {n: _array(v) for n, v in theirs.state_dict().items()}
        parameters = {n: p for n, p in theirs.named_parameters() if p.requires_grad}
        torch.manual_seed(0)
        expected = theirs(*tree[0], **tree[1])
    if not hasattr(nn, name):
        return Outcome("missing")
    try:
        ours = _constructed(getattr(nn, name), made).to("float64").train(training)
        if name.startswith("Lazy"):
            ours.load_state_dict(state)
    except Exception as error:
        return Outcome("refused" if _WHERE.search(str(error)) else "crash", f"{type(error).__name__}: {error}")
    listed = {n: (tuple(v.shape), str(v.dtype)) for n, v in ours.state_dict().items()}
    if listed != {n: (v.shape, str(v.dtype)) for n, v in state.items()}:
        return Outcome("wrong", f"state dict {listed}")
    if [n for n, _ in ours.named_parameters()] != list(parameters):
        return Outcome("wrong", "order of parameters")

    def call(arrays: Sequence[Any]) -> Any:
        given, named = _with_arrays(tree, arrays)
        values = state | dict(zip(parameters, arrays[len(arrays) - len(parameters) :]))
        return nn.functional_call(ours, values, *given, training=training, **named)

    return _compared(call, tensors(tree), expected, list(parameters.values()), 1e-8)


def _constructed(kind: Any, made: Any) -> Any:
    args, kwargs = _mapped(_plain, (tuple(made.args), dict(made.kwargs)))
    return kind(*args, **{name: value for name, value in kwargs.items() if name not in ("device", "dtype")})


def _plain(value: Any) -> Any:
    """An argument of torch's in ours: arrays, names of dtypes, and modules and functions of the same name."""
    import torch

    if isinstance(value, torch.Tensor):
        return _array(value)
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, torch.nn.TransformerEncoderLayer):
        like = value.self_attn
        return nn.TransformerEncoderLayer(
            like.embed_dim,
            like.num_heads,
            value.linear1.out_features,
            value.dropout.p,
            F.relu if value.activation_relu_or_gelu == 1 else F.gelu,
            value.norm1.eps,
            like.batch_first,
            value.norm_first,
            like.in_proj_bias is not None,
        )
    if isinstance(value, torch.nn.Module):
        return getattr(nn, type(value).__name__)()
    functional = torch.nn.functional
    return getattr(F, value.__name__) if value in (functional.relu, functional.gelu) else value


# Trees of arguments.


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def tensors(tree: Any) -> list[Any]:
    """The tensors among arguments or results, in their order."""
    return [leaf for leaf in optree.tree_leaves(tree, none_is_leaf=True) if _is_tensor(leaf)]


def _is_float(tensor: Any) -> bool:
    return tensor.dtype.is_floating_point


def _array(tensor: Any) -> Any:
    return tensor.detach().numpy().copy()


def _mapped(fn: Callable[[Any], Any], tree: Any) -> Any:
    return optree.tree_map(fn, tree, none_is_leaf=True)


def _detached(value: Any) -> Any:
    return value.detach().clone().requires_grad_(value.requires_grad) if _is_tensor(value) else value


def _with_arrays(tree: Any, arrays: Sequence[Any]) -> Any:
    """The arguments with arrays for the tensors, in their order."""
    each = iter(arrays)
    return _mapped(lambda leaf: next(each) if _is_tensor(leaf) else _plain(leaf), tree)


def in_arrays(tree: Any) -> Any:
    """The arguments with arrays for their tensors."""
    return _with_arrays(tree, [_array(tensor) for tensor in tensors(tree)])


def _dtype_of(tree: Any) -> str:
    return next((str(t.dtype).removeprefix("torch.") for t in tensors(tree) if _is_float(t)), "")


def _short(value: Any) -> str:
    if _is_tensor(value):
        return f"{'x'.join(map(str, value.shape)) or 'scalar'} {str(value.dtype).removeprefix('torch.')}"
    return repr(value)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main(dtypes: list[str]) -> None:
    """Print how many samples of each kind there are, by function and module, and in all."""
    for dtype in dtypes:
        total: Counter[str] = Counter()
        for name, entry in functions(dtype):
            counts = Counter(judged(sample).kind for sample in samples(name, entry, dtype))
            total.update(counts)
            print(f"{name} {entry.variant_test_name}".strip(), *(f"{n} {kind}" for kind, n in counts.items()))
        print(f"functions, {dtype}:", *(f"{n} {kind}" for kind, n in total.items()))
    total = Counter()
    for entry in tables()[1]:
        for training in (True, False):
            counts = Counter(judged_module(entry, i, training).kind for i in module_inputs(entry, training))
            total.update(counts)
            print(entry.name, "training" if training else "evaluation", *(f"{n} {k}" for k, n in counts.items()))
    print("modules, float64:", *(f"{n} {kind}" for kind, n in total.items()))


if __name__ == "__main__":
    main(sys.argv[1:] or ["float64", "float32", "int64", "uint8", "bool"])
