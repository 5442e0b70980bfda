"""Whatever a function, a method or a layer is given, what comes back is an answer or an error that was meant: never one
that fell out of the package's own code.
"""

from __future__ import annotations

import inspect
import operator
import random
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.engine.tracing.torch_methods import METHODS

PACKAGE = Path(gl.__file__ or "").parent
UNMEANT = (
    AttributeError,
    IndexError,
    RecursionError,
    KeyError,
    AssertionError,
    UnboundLocalError,
    ZeroDivisionError,
    NameError,
    StopIteration,
)


def wrong_values(x: Any) -> list[Any]:
    """Arrays of many ranks and dtypes, empty ones, numbers out of range, and what is no number at all."""
    return [
        *(x, x[0], x[0, 0], x[:0], x[None], x[None, None], x.astype("int64"), x > 0, [x, x], [x, None], {"a": x}),
        *(np.ones((2, 3), "float32"), np.zeros((0, 3), "float32"), np.ones((1, 2, 3, 4), "float32"), np.array(["a"])),
        *(np.array(None), np.int64(1), np.float32(0.5), 0, 1, -1, 2, 5, -7, 2**62, 1.5, float("nan"), True, 1j),
        *(None, "a", "", "ij,jk", b"x", object(), (), [], (0,), (0, 0), (1, -5), (2, 3), [[1], [2, 3]]),
        *(slice(0, 1), Ellipsis, lambda v: v, int, np.dtype("float32"), "float32"),
    ]


def unmeant(call: Callable[[], Any]) -> str | None:
    """What an error says that fell out of the package; `None` for an answer, and for an error that names a line."""
    try:
        call()
    except (MemoryError, *UNMEANT) as error:
        inner = [f for f in traceback.extract_tb(error.__traceback__) if str(PACKAGE) in f.filename]
        inner = [f for f in inner if "tests" not in Path(f.filename).relative_to(PACKAGE).parts]
        named = ", at " in str(error) and not isinstance(error, (RecursionError, AssertionError))
        if isinstance(error, MemoryError) or named or not inner:
            return None
        return f"{type(error).__name__}: {error} ({inner[-1].filename}:{inner[-1].lineno})"
    except Exception:
        return None
    return None


def counts(function: Callable[..., Any]) -> tuple[int, int, list[str]]:
    """The least and the most positional arguments, and the names that are taken."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1, 2, []
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    least = sum(p.default is p.empty for p in places)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return max(least, 1), max(least, 1) + 1, []
    return least, len(places), [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]


def functions() -> list[tuple[str, Callable[..., Any]]]:
    spaces = (("np", gl.numpy), ("np.linalg", gl.numpy.linalg), ("F", nn.functional))
    named = [(f"{space}.{name}", getattr(module, name)) for space, module in spaces for name in module.__all__]
    # These make arrays of any size that they are asked for, as NumPy's do.
    sized = (
        "full",
        "zeros",
        "ones",
        "empty",
        "eye",
        "identity",
        "arange",
        "linspace",
        "tri",
        "split",
        "repeat",
        "tile",
    )
    return [
        (name, f)
        for name, f in named
        if callable(f) and not isinstance(f, type) and not any(name.partition(".")[2].endswith(s) for s in sized)
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(3))
def test_no_error_falls_out_of_the_package(seed: int) -> None:
    rng = random.Random(seed)
    found: dict[str, str] = {}
    tried = 0

    def note(name: str, call: Callable[[], Any]) -> None:
        nonlocal tried
        tried += 1
        said = unmeant(call)
        if said is not None:
            found.setdefault(name, said)

    def run(x: Any) -> Any:
        x = x.copy()  # an `inplace=True` may change it, and not an argument
        values = wrong_values(x)
        for name, function in functions():
            least, most, keywords = counts(function)
            for _ in range(40):
                size = rng.randint(least, max(least, most))
                args = [x if i == 0 and rng.random() < 0.6 else rng.choice(values) for i in range(size)]
                note(name, lambda function=function, args=args: function(*args))
            leading = [x] * max(least, 1)
            for keyword in keywords:
                for value in rng.sample(values, 8):
                    given = {keyword: value}
                    note(f"{name}({keyword}=)", lambda f=function, a=leading, k=given: f(*a, **k))
        for name in [*(m for m in dir(type(x)) if not m.startswith("_")), *METHODS]:
            for _ in range(12):
                of, args = rng.choice([x, x[0], x[0, 0]]), [rng.choice(values) for _ in range(rng.randint(0, 3))]
                note(f"x.{name}", lambda of=of, name=name, args=args: getattr(of, name)(*args))
        for value in values:
            note("x[]", lambda value=value: x[value])
            note("x[,]", lambda value=value: (x[value, 0], x[0, value]))
            for op in (
                operator.add,
                operator.matmul,
                operator.pow,
                operator.mod,
                operator.and_,
                operator.eq,
                operator.lt,
            ):
                note(f"{op.__name__}", lambda op=op, value=value: op(x, value))
                note(f"r{op.__name__}", lambda op=op, value=value: op(value, x))
        return x

    gl.trace(run, np.arange(6, dtype="float32").reshape(2, 3))
    assert not found, "\n".join(f"{name}: {said}" for name, said in found.items())
    assert tried > 10_000


@pytest.mark.filterwarnings("ignore")
def test_no_error_falls_out_of_a_layer() -> None:
    rng = random.Random(0)
    found: dict[str, str] = {}
    kinds = [getattr(nn, name) for name in nn.__all__]
    layers = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, nn.Module)]
    layers = [kind for kind in layers if kind.forward is not nn.Module.forward]

    def run(x: Any) -> Any:
        x = x.copy()  # an `inplace=True` may change it, and not an argument
        values = [value for value in wrong_values(x) if type(value) is not int or abs(value) < 100]
        for kind in layers:
            least, most, _ = counts(kind)
            for _ in range(40):
                size = rng.randint(least, max(least, most))
                args = [rng.choice([1, 2, 3, 1, 2, 3, rng.choice(values)]) for _ in range(size)]
                given = rng.choice(values)

                def call(kind: Any = kind, args: list[Any] = args, given: Any = given) -> None:
                    layer = kind(*args)
                    nn.functional_call(layer, nn.init_parameters(layer), given)

                said = unmeant(call)
                if said is not None:
                    found.setdefault(kind.__name__, f"{args}, {given}: {said}")
        return x

    gl.trace(run, np.arange(6, dtype="float32").reshape(2, 3))
    assert not found, "\n".join(f"{name}: {said}" for name, said in found.items())


def test_orders_of_differences_beyond_the_length_end() -> None:
    graph = gl.trace(lambda x: (np.diff(x, 10**30), np.diff(x, 3), np.diff(x, 2)), gl.spec((3,)))
    assert [v.type.shape for v in graph.outputs] == [(0,), (0,), (1,)]


def test_traced_arrays_are_copied_and_not_pickled() -> None:
    import copy
    import pickle

    def run(x: Any) -> Any:
        with pytest.raises(gl.TracingError, match="cannot be pickled; return it"):
            pickle.dumps(x)
        return copy.deepcopy({"a": [x]})["a"][0] + copy.copy(x)

    x = np.ones(2)
    np.testing.assert_array_equal(gl.interpret(gl.trace(run, x), x)[0], 2 * x)
    with pytest.raises(TypeError, match="expected a module, got int"):
        nn.TransformerEncoder(3, 2)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="a dict of modules, got list"):
        nn.ModuleDict([nn.ReLU()])  # pyright: ignore[reportArgumentType]
    with pytest.raises(gl.ShapeError, match=r"linear: weight is \(out, in\)"):
        nn.functional.linear(x, np.ones(()))
    with pytest.raises(gl.ShapeError, match=r"embedding: weight is \(num, dim\)"):
        nn.functional.embedding(np.zeros(2, int), np.ones(3))
