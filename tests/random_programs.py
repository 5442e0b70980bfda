"""Random NumPy programs, as source text that a person can read and run: `random_program(7).source`.

A program is written line by line, and each line is run by NumPy as soon as it is written, so that shapes, dtypes and
magnitudes of all that came before are known. Values stay finite and moderate. What jumps (`floor`, comparisons,
`argmax`) is asked only of values that every correct way of computing gives to the bit: inputs, integers, and what only
moves or selects them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

LIMIT = 50.0
_SHAPES = ((), (1,), (4,), (17,), (2, 3), (3, 1), (1, 5), (6, 33), (2, 3, 4), (4, 1, 2), (0, 3), (2, 0))
_FLOATS, _INTEGERS = ("float64", "float32"), ("int64", "int32", "uint8")


@dataclasses.dataclass(frozen=True)
class Program:
    """Source of a function `program` of the inputs, which returns a tuple of arrays, and inputs for it."""

    seed: int
    source: str
    inputs: tuple[Any, ...]

    @property
    def function(self) -> Callable[..., tuple[Any, ...]]:
        scope: dict[str, Any] = {"np": np}
        exec(compile(self.source, f"<program {self.seed}>", "exec"), scope)
        return scope["program"]


@dataclasses.dataclass(frozen=True)
class _Value:
    """A variable: its name, what NumPy made of it, and whether every correct way of computing gives these bits."""

    name: str
    array: Any
    exact: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def is_float(self) -> bool:
        return self.array.dtype.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.array.dtype.kind in "iu"


Line = tuple[str, bool]  # an expression, and whether its value is exact
_MAKERS: list[Callable[[_Writer], Line | None]] = []


def _maker(times: int = 1) -> Callable[[Callable[[_Writer], Line | None]], Callable[[_Writer], Line | None]]:
    """Enter a maker of expressions, as often as it should be drawn; it gives None where nothing fits."""

    def enter(maker: Callable[[_Writer], Line | None]) -> Callable[[_Writer], Line | None]:
        _MAKERS.extend([maker] * times)
        return maker

    return enter


class _Writer:
    def __init__(self, random: Random, dtypes: tuple[str, ...]) -> None:
        self.random = random
        self.values: list[_Value] = []
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {"np": np}
        rng = np.random.default_rng(random.randrange(2**32))
        for i in range(random.randint(1, 4)):
            shape, dtype = random.choice(_SHAPES), random.choice(dtypes)
            array = (rng.uniform(-2, 2, shape) if dtype in _FLOATS else rng.integers(0, 6, shape)).astype(dtype)
            self._enter(f"x{i}", np.asarray(array), True)
        self.inputs = tuple(v.array for v in self.values)

    def _enter(self, name: str, array: Any, exact: bool) -> None:
        self.scope[name] = array
        self.values.append(_Value(name, array, exact))

    def pick(self, fits: Callable[[_Value], bool] = lambda v: True) -> _Value | None:
        """A value that fits, late ones more often; None where there is none."""
        found = [v for v in self.values if fits(v)]
        return self.random.choice(found[-self.random.choice([2, 6, 99]) :]) if found else None

    def axis(self, v: _Value) -> int:
        return self.random.randrange(-v.array.ndim, v.array.ndim)

    def write(self) -> None:
        """One more line, whose value is brought back where it is large, and forgotten where it cannot be computed."""
        if self.random.random() < 0.08:
            self.update()
            return
        made = self.random.choice(_MAKERS)(self)
        if made is None:
            return
        text, exact = made
        with np.errstate(all="ignore"):
            array = np.asarray(eval(text, self.scope))
        if array.dtype.name not in (*_FLOATS, *_INTEGERS, "bool") or array.size > 4096:
            return
        if array.dtype.kind == "f" and (not np.isfinite(array).all() or np.abs(array).max(initial=0) > LIMIT):
            text, exact = f"np.tanh(({text}) / {LIMIT})", False
        elif array.dtype.kind in "iu" and np.abs(array.astype("int64")).max(initial=0) > 1000:
            text = f"({text}) % 7"
        with np.errstate(all="ignore"):
            array = np.asarray(eval(text, self.scope))
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        self._enter(name, array, exact or array.dtype.kind in "biu")

    def update(self) -> None:
        """Three lines: a new array, another name or a view of it, and a change in place through that."""
        v = self.pick(lambda v: v.is_float and v.array.size > 0 and v.array.ndim > 0)
        if v is None:
            return
        name = f"v{len(self.lines)}"
        view = self.random.choice(["", "[1:]", "[::-1]", ".T", "[None]", "[::2]", "[:1]", f"[{v.shape[0] - 1}:]"])
        change = self.random.choice(["+= 0.5", "-= 0.25", "*= -2", "/= 4", f"+= np.cos({name}{view})", "**= 2"])
        text = f"{name} = {v.name} * 1\n    {name}_view = {name}{view}\n    {name}_view {change}"
        exec(text.replace("\n    ", "\n"), self.scope)
        self.lines.append(text)
        self._enter(name, self.scope[name], False)


def random_program(seed: int) -> Program:
    """The program of a seed. The dtypes of its inputs are mixed, or all float64 for every second seed."""
    random = Random(seed)
    writer = _Writer(random, ("float64",) if seed % 2 else ("float64", "float32", "float32", "int64", "int32", "uint8"))
    for _ in range(random.choice([4, 8, 12, 20])):
        writer.write()
    results = writer.values[len(writer.inputs) :][-3:] or writer.values[:1]
    parameters = ", ".join(v.name for v in writer.values[: len(writer.inputs)])
    body = "".join(f"    {line}\n" for line in writer.lines)
    source = f"def program({parameters}):\n{body}    return {', '.join(v.name for v in results)},\n"
    return Program(seed, source, writer.inputs)


def _is_float(v: _Value) -> bool:
    return v.is_float


def _has_axes(v: _Value) -> bool:
    return v.array.ndim > 0


def _is_filled(v: _Value) -> bool:
    return v.array.size > 0 and v.array.ndim > 0


@_maker(3)
def _smooth(w: _Writer) -> Line | None:
    v = w.pick(_is_float)
    functions = ["tanh", "sin", "cos", "arctan", "arcsinh", "square", "exp2", "expm1", "sinh", "cosh", "deg2rad"]
    return v and (f"np.{w.random.choice(functions)}({v.name})", False)


@_maker(2)
def _guarded(w: _Writer) -> Line | None:
    """Functions with a border, away from it."""
    v = w.pick(_is_float)
    forms = ["np.sqrt({} ** 2 + 1)", "np.log(1.5 + np.cos({}))", "np.log1p({} ** 2)", "np.reciprocal(1.2 + np.sin({}))"]
    forms += ["np.arcsin(np.sin({}) / 2)", "np.arccosh(1.5 + {} ** 2)", "np.log2(2 + {} ** 2)", "np.exp(-({} ** 2))"]
    forms += ["np.arctanh(np.tanh({}) / 2)", "np.power(np.abs({}) + 0.5, 1.5)", "np.log10(3.0 + np.sin({}))"]
    return v and (w.random.choice(forms).format(v.name), False)


@_maker()
def _exact(w: _Writer) -> Line | None:
    v = w.pick(lambda v: v.array.dtype.kind != "b")
    functions = ["negative", "abs", "positive", "sign"] if v and v.exact else ["negative", "positive"]
    return v and (f"np.{w.random.choice(functions)}({v.name})", v.exact)


@_maker()
def _stepwise(w: _Writer) -> Line | None:
    v = w.pick(lambda v: v.is_float and v.exact)
    forms = ["np.floor({})", "np.ceil({})", "np.rint({})", "np.trunc({})", "np.fix({})", "np.round({})"]
    forms += ["np.isfinite({})", "np.isnan({})", "({}).astype('int64')", "np.heaviside({}, 0.5)"]
    return v and (w.random.choice(forms).format(v.name), True)


def _broadcast(w: _Writer, fits: Callable[[_Value], bool] = lambda v: True) -> tuple[_Value, _Value] | None:
    """Two values whose shapes broadcast."""

    def compatible(a: _Value, b: _Value) -> bool:
        try:
            return np.broadcast_shapes(a.shape, b.shape) is not None
        except ValueError:
            return False

    a = w.pick(fits)
    b = a and w.pick(lambda v: fits(v) and compatible(a, v))
    return (a, b) if a and b else None


@_maker(4)
def _binary(w: _Writer) -> Line | None:
    pair = _broadcast(w, lambda v: v.array.dtype.kind != "b")
    if pair is None:
        return None
    forms = ["{} + {}", "{} - {}", "{} * {}", "{} / ({} ** 2 + 1.0)", "np.arctan2({}, 3.0 + np.abs({}))"]
    forms += ["np.hypot({}, 1 + np.abs({}))", "np.logaddexp({}, {})"]
    return w.random.choice(forms).format(pair[0].name, pair[1].name), False


@_maker(2)
def _selection(w: _Writer) -> Line | None:
    pair = _broadcast(w, lambda v: v.exact and v.array.dtype.kind != "b")
    if pair is None:
        return None
    forms = ["np.maximum({0}, {1})", "np.minimum({0}, {1})", "np.where({0} > {1}, {0}, {1})", "np.fmax({0}, {1})"]
    forms += ["np.where({0} <= {1}, {1}, 0.5)", "np.clip({0}, -1, 1)", "np.clip({0}, {1}, None)"]
    exact = pair[0].array.dtype == pair[1].array.dtype
    return w.random.choice(forms).format(pair[0].name, pair[1].name), exact


@_maker(2)
def _scalar(w: _Writer) -> Line | None:
    """A Python number or a NumPy scalar beside an array: NumPy's rules of promotion."""
    v = w.pick(lambda v: v.array.dtype.kind != "b")
    scalars = ["2", "0.5", "-1.25", "True", "np.float32(1.5)", "np.float64(0.75)"]
    scalars += ["np.int64(3)", "np.array(2, 'int32')"]
    scalars = [s for s in scalars if v is None or v.array.dtype != "uint8" or not s.startswith("-")]
    return v and (
        w.random.choice(["{0} * {1}", "{1} + {0}", "{0} - {1}"]).format(v.name, w.random.choice(scalars)),
        False,
    )


@_maker()
def _comparison(w: _Writer) -> Line | None:
    pair = _broadcast(w, lambda v: v.exact)
    operator = w.random.choice(["<", "<=", ">", ">=", "==", "!="])
    return pair and (f"{pair[0].name} {operator} {pair[1].name}", True)


@_maker()
def _logic(w: _Writer) -> Line | None:
    pair = _broadcast(w, lambda v: v.array.dtype.kind == "b")
    return pair and (
        w.random.choice(["{} & {}", "{} | {}", "{} ^ {}", "~{} | {}"]).format(*(v.name for v in pair)),
        True,
    )


@_maker()
def _integer(w: _Writer) -> Line | None:
    pair = _broadcast(w, lambda v: v.is_integer)
    if pair is None:
        return None
    forms = ["{} // ({} % 5 + 1)", "{} % ({} % 3 + 2)", "{} << ({} % 3)", "{} >> ({} % 4)", "{} & {}"]
    forms += ["{} ^ {}", "{} | {}"]
    forms += ["{} ** ({} % 3)", "np.fmod({}, {} % 3 + 1)", "~{} + {}"]
    return w.random.choice(forms).format(pair[0].name, pair[1].name), True


@_maker(3)
def _reduction(w: _Writer) -> Line | None:
    v = w.pick(lambda v: v.array.size > 0)
    if v is None:
        return None
    axes: list[Any] = [None, *(range(-v.array.ndim, v.array.ndim))]
    axes += [tuple(w.random.sample(range(v.array.ndim), 2))] if v.array.ndim > 1 else []
    options = f"axis={w.random.choice(axes)}, keepdims={w.random.choice([True, False])}"
    if v.array.dtype.kind == "b":
        return f"np.{w.random.choice(['sum', 'any', 'all', 'mean', 'count_nonzero'])}({v.name}, {options})", False
    name = w.random.choice(["sum", "mean", "max", "min", "var", "std", "ptp", "sum", "mean"])
    if name == "std":
        return f"np.sqrt(np.var({v.name}, {options}) + 0.25)", False
    return f"np.{name}({v.name}, {options})", v.exact and name in ("max", "min")


@_maker()
def _product(w: _Writer) -> Line | None:
    v = w.pick(lambda v: _is_filled(v) and v.array.dtype.kind != "b")
    return v and (f"np.prod(np.cos({v.name}), axis={w.axis(v)})", False)


@_maker()
def _position(w: _Writer) -> Line | None:
    v = w.pick(lambda v: v.exact and _is_filled(v))
    return v and (f"np.{w.random.choice(['argmax', 'argmin'])}({v.name}, axis={w.axis(v)})", True)


@_maker()
def _cumulated(w: _Writer) -> Line | None:
    v = w.pick(lambda v: _is_filled(v) and v.array.dtype.kind != "b")
    function = w.random.choice(["np.cumsum", "np.diff", "np.sort"])
    return v and (f"{function}({v.name}, axis={w.axis(v)})", False)


@_maker(3)
def _movement(w: _Writer) -> Line | None:
    v = w.pick(_has_axes)
    if v is None:
        return None
    axis, n = w.axis(v), v.array.ndim
    order = w.random.sample(range(n), n)
    forms = [f"np.transpose({v.name}, {order})", f"{v.name}.T", f"np.flip({v.name}, {axis})", f"np.ravel({v.name})"]
    forms += [f"np.roll({v.name}, {w.random.randint(-3, 3)}, axis={axis})", f"np.expand_dims({v.name}, {axis})"]
    forms += [f"np.repeat({v.name}, 2, axis={axis})", f"np.tile({v.name}, {w.random.choice([2, (2, 1)])})"]
    forms += [f"np.moveaxis({v.name}, {axis}, {w.axis(v)})", f"{v.name}.reshape({v.shape[::-1]})"]
    forms += [f"np.pad({v.name}, {w.random.choice([1, (0, 2), (2, 1)])})"]
    forms += [f"np.broadcast_to({v.name}, {(2, *v.shape)})"]
    forms += [f"np.stack([{v.name}, {v.name}], axis={axis})", f"np.concatenate([{v.name}, {v.name}], axis={axis})"]
    forms += [f"np.squeeze({v.name})", f"{v.name}[None]", f"{v.name}.swapaxes({axis}, 0)"]
    return w.random.choice(forms), v.exact


@_maker()
def _joined(w: _Writer) -> Line | None:
    a = w.pick(_has_axes)
    b = a and w.pick(lambda v: v.shape[1:] == a.shape[1:] and v.array.ndim == a.array.ndim)
    if a is None or b is None:
        return None
    return f"np.concatenate([{a.name}, {b.name}])", a.exact and b.exact and a.array.dtype == b.array.dtype


@_maker(3)
def _indexed(w: _Writer) -> Line | None:
    v = w.pick(_is_filled)
    if v is None:
        return None
    n = v.shape[0]
    at = w.random.randrange(-n, n)
    places = [w.random.randrange(-n, n) for _ in range(w.random.choice([1, 3, 5]))]
    forms = [f"{at}", f"{at}:", f":{at}", "::-1", "::2", "::-2", f"{places}", f"np.array({places})", "..., 0"]
    forms += ["..., ::-1", "None, ..., None", f"np.array({places})[:, None]"]
    forms += [f"np.array({[w.random.random() < 0.6 for _ in range(n)]})"]
    forms += [f"{at}, ..., -1" if v.array.ndim > 1 else "...", f"..., {[0, -1, 0]}"]
    return f"{v.name}[{w.random.choice(forms)}]", v.exact


@_maker()
def _looked_up(w: _Writer) -> Line | None:
    v = w.pick(_is_filled)
    i = v and w.pick(lambda i: i.is_integer and i.array.dtype != "uint8")
    if v is None or i is None:
        return None
    forms = ["{0}[{1} % {2}]", "np.take({0}, {1} % {2}, axis=0)", "{0}[{1} % {2} - 1]"]
    return w.random.choice(forms).format(v.name, i.name, v.shape[0]), v.exact


@_maker(2)
def _contraction(w: _Writer) -> Line | None:
    a = w.pick(lambda v: v.array.ndim in (1, 2, 3) and v.array.dtype.kind != "b")
    b = a and w.pick(lambda v: v.array.ndim == 2 and v.shape[0] == a.shape[-1] and v.array.dtype.kind != "b")
    if a is None:
        return None
    if b is not None and w.random.random() < 0.7:
        return f"{a.name} @ {b.name}", False
    letters = "ijk"[: a.array.ndim]
    forms = [f"np.einsum('{letters},{letters}->{letters[0]}', {a.name}, {a.name})", f"np.inner({a.name}, {a.name})"]
    forms += [f"np.tensordot({a.name}, {a.name}, {a.array.ndim})", f"np.outer({a.name}, {a.name})"]
    forms += [f"np.matmul({a.name}, np.swapaxes({a.name}, -1, -2))"] if a.array.ndim > 1 else []
    return w.random.choice(forms), False


@_maker()
def _matrix(w: _Writer) -> Line | None:
    v = w.pick(lambda v: v.array.ndim == 2)
    forms = ["np.tril({})", "np.triu({}, 1)", "np.diagonal({})", "np.trace({})", "np.rot90({})", "np.fliplr({})"]
    return v and (w.random.choice(forms).format(v.name), False)


@_maker()
def _converted(w: _Writer) -> Line | None:
    v = w.pick(lambda v: v.exact or v.is_float)
    names = _FLOATS if v is None or not v.exact else (*_FLOATS, "int64", "int32", "bool")
    return v and (f"{v.name}.astype('{w.random.choice(names)}')", False)
