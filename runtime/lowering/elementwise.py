"""Element-wise ops as expressions of kernel source."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...ir import OPS, SHORT_NAMES, Node, Op
from ...ir.ops import elementwise as ew
from ...ir.ops import special as sp
from ...ir.types import FLOAT32, is_half
from ..codegen.array_kernel import FUNCTIONS, option_text

# The name of each dtype's constructor in kernel source.
CAST = {np.dtype(d): short for d, short in SHORT_NAMES.items()} | {np.dtype("bool"): "boolean"}


def literal(value: float | int | bool, dtype: np.dtype[Any]) -> str:
    """A constant of `dtype` in kernel source."""
    if is_half(dtype):
        return literal(float(dtype.type(value)), FLOAT32)
    if dtype.kind == "b":
        return str(bool(value))
    if dtype.kind == "f":
        exact = float(dtype.type(value))
        text = repr(exact) if np.isfinite(exact) else ("nan" if np.isnan(exact) else "inf" if exact > 0 else "-inf")
        return f"{CAST[dtype]}({text})"
    return f"{CAST[dtype]}({int(value)})"


def _operator(template: str) -> Callable[..., str]:
    """An operator. Its result has the right type for floats; a cast lets integers wrap around."""

    def expression(dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
        text = template.format(*names)
        return text if dtype.kind in "fb" else f"{CAST[dtype]}({text})"

    return expression


def _native(name: str) -> Callable[..., str]:
    """A call of the native function of this name for the dtype."""

    def expression(dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
        return f"{name}_{SHORT_NAMES[dtype]}({', '.join(names)})"

    return expression


def _in_float64(name: str) -> Callable[..., str]:
    """A call of the function of this name on float64; of float32 its result is rounded once."""

    def expression(dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
        return f"{CAST[dtype]}({name}({', '.join(f'f64({name})' for name in names)}))"

    return expression


def _numpy(name: str) -> Callable[..., str]:
    """A call of NumPy's function of this name."""

    def expression(dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
        return f"{CAST[dtype]}(np.{name}({', '.join(names)}))"

    return expression


def _constant(template: str) -> Callable[..., str]:
    """`{zero}` and `{one}` are constants of the output's dtype."""

    def expression(dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
        return template.format(*names, zero=literal(0, dtype), one=literal(1, dtype), minus=literal(-1, dtype))

    return expression


def _sign(dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
    # Of floats, 0 stands behind what is neither more nor less than 0: NaN stays, and -0 becomes 0.
    rest = "{0} + {zero}" if dtype.kind == "f" else "{0}"
    template = (
        "({one} if {0} > {zero} else {0})"
        if dtype.kind == "u"
        else "({one} if {0} > {zero} else ({minus} if {0} < {zero} else " + rest + "))"
    )
    fill = {
        "zero": literal(0, dtype),
        "one": literal(1, dtype),
        "minus": "" if dtype.kind == "u" else literal(-1, dtype),
    }
    return template.format(*names, **fill)


def _power(dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
    if dtype.kind == "f":
        return f"pow_{SHORT_NAMES[dtype]}({names[0]}, {names[1]})"
    return f"{CAST[dtype]}(integer_power(i64({names[0]}), i64({names[1]})))"


def _divide(dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
    if dtype.kind == "f":
        return f"floor_divide_{SHORT_NAMES[dtype]}({names[0]}, {names[1]})"
    return f"{CAST[dtype]}(integer_floor_divide(i64({names[0]}), i64({names[1]})))"


def _remainder(dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
    if dtype.kind == "f":
        return f"remainder_{SHORT_NAMES[dtype]}({names[0]}, {names[1]})"
    return f"{CAST[dtype]}(integer_remainder(i64({names[0]}), i64({names[1]})))"


def _extremum(sign: str) -> Callable[..., str]:
    """The larger (`>=`) or the smaller (`<=`) operand; NaN where one of them is NaN."""

    def expression(dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
        x, y = names
        if dtype.kind == "f":
            return f"({x} if ({x} {sign} {y}) | ({x} != {x}) else {y})"
        return f"({x} if {x} {sign} {y} else {y})"

    return expression


def _invert(dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
    return f"(not {names[0]})" if dtype.kind == "b" else f"{CAST[dtype]}(~{names[0]})"


def _same(dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
    return names[0]


def _absolute(dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
    return names[0] if dtype.kind == "u" else _operator("abs({0})")(dtype, *names)


_STRAIGHT = (
    *(sp.gamma, sp.digamma, sp.i0, sp.i1, sp.i0e, sp.i1e, sp.spence),
    *(sp.erfc, sp.erfcx, sp.erfinv, sp.erfcinv, sp.ndtri, sp.log_ndtr),
)
_WITH_LOOPS = (
    *(sp.beta, sp.betaln, sp.zeta, sp.gammainc, sp.gammaincc, sp.gamma_density, sp.gammainc_slope),
    *(sp.betainc, sp.beta_density, sp.betainc_slope_a, sp.betainc_slope_b, sp.expn),
)

_NAMED: Mapping[str, Callable[..., str]] = {
    "neg": _operator("-{0}"),
    "add": _operator("{0} + {1}"),
    "sub": _operator("{0} - {1}"),
    "mul": _operator("{0} * {1}"),
    "div": _operator("{0} / {1}"),
    "floordiv": _divide,
    "mod": _remainder,
    "pow": _power,
    "maximum": _extremum(">="),
    "minimum": _extremum("<="),
    "abs": _absolute,
    "sign": _sign,
    "relu": _constant("({zero} if {0} < {zero} else {0})"),
    "copy": _same,
    "save": _same,
    "stop_gradient": _same,
    "select": lambda dtype, c, x, y: f"({x} if {c} else {y})",
    "and": _operator("{0} & {1}"),
    "or": _operator("{0} | {1}"),
    "xor": _operator("{0} ^ {1}"),
    "invert": _invert,
    "shift_left": _native("shift_left"),
    "shift_right": _native("shift_right"),
    **{name: _native(name) for name in ("exp", "expm1", "log", "log2", "log10", "log1p", "tanh", "sigmoid", "erf")},
    **{name: _native(name) for name in ("ndtr", "sin", "cos", "tan")},
    **{name: _numpy(name) for name in ("sqrt", "floor", "ceil", "trunc", "rint", "sinh", "cosh")},
    **{op.name: _in_float64(op.name) for op in _WITH_LOOPS},
    **{op.name: _in_float64(f"{op.name}_f64") for op in _STRAIGHT},
    "gammaln": _in_float64("lgamma_f64"),
    "asin": _numpy("arcsin"),
    "acos": _numpy("arccos"),
    "atan": _numpy("arctan"),
    "asinh": _numpy("arcsinh"),
    "acosh": _numpy("arccosh"),
    "atanh": _numpy("arctanh"),
    "atan2": _numpy("arctan2"),
}
_EXPRESSIONS = {OPS[name]: expression for name, expression in _NAMED.items()}
_COMPARISONS = dict(zip(ew.COMPARISONS, ("==", "!=", "<", "<=", ">", ">="), strict=True))


def element_of(op: Op, dtype: np.dtype[Any], *names: str) -> str:
    """The element that an op without attributes makes of elements `names` of one dtype, as an expression."""
    return _made(op, dtype, *names)


def loaded(element: str, dtype: np.dtype[Any]) -> str:
    """The value of an element in memory, as an expression."""
    return f"f32_of_{SHORT_NAMES[dtype]}({element})" if is_half(dtype) else element


def stored(value: str, dtype: np.dtype[Any]) -> str:
    """The element in memory of a value, as an expression."""
    return f"{SHORT_NAMES[dtype]}_of_f32({value})" if is_half(dtype) else value


def _made(op: Op, dtype: np.dtype[Any], *names: str, **attrs: Any) -> str:
    """What an op makes of the elements `names`; of two bytes in float32, with one rounding of the result."""
    if not is_half(dtype):
        return _EXPRESSIONS[op](dtype, *names, **attrs)
    text = _EXPRESSIONS[op](FLOAT32, *names, **attrs)
    return text if op.is_exact else f"rounded_{SHORT_NAMES[dtype]}({text})"


def expression(node: Node, names: list[str]) -> str:
    """The element of the node's output as an expression of the elements `names` of its inputs."""
    op, dtype = node.op, node.output.type.dtype
    if op.kernel is not None:
        FUNCTIONS[op.kernel.symbol] = op.kernel
        given = [*names, *(option_text(value) for _, value in node.attrs["options"])]
        return f"{CAST[dtype]}({op.kernel.symbol}({', '.join(given)}))"
    if op in _COMPARISONS:
        return f"({names[0]} {_COMPARISONS[op]} {names[1]})"
    if op is ew.cast:
        return _cast(names[0], node.inputs[0].type.dtype, dtype)
    return _made(op, dtype, *names, **node.attrs)


def _cast(name: str, source: np.dtype[Any], target: np.dtype[Any]) -> str:
    source = FLOAT32 if is_half(source) else source
    if is_half(target):
        return f"rounded_{SHORT_NAMES[target]}({_cast(name, source, FLOAT32)})"
    if target.kind == "b":
        return f"({name} != {literal(0, source)})" if source.kind != "b" else name
    if target.kind in "iu" and source.kind == "f":
        return f"{SHORT_NAMES[target]}_of_{SHORT_NAMES[source]}({name})"
    return f"{CAST[target]}({name})"
