"""What is rounded in a program: the names of precisions, and what each of them means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...ir import BFLOAT16, FLOAT16, DType
from .errors import located

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
"""Of products and activations."""
HALVES: dict[str, DType] = {"bf16": BFLOAT16, "fp16": FLOAT16}
"""The dtypes of two bytes by the names of their precisions."""
STORED = ("kept", "moments", "parameters")
"""What may be stored in two bytes by itself: values that the backward reads, moments of the optimizer, parameters."""
Precision = str | Mapping[str, str]
"""What `checked_precision` takes."""
_FULL_NAMES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_INSTEAD = {**_FULL_NAMES, "half": "fp16", "mixed": "bf16", "amp": "bf16"}


def checked_precision(precision: Any) -> str:
    """One name for a precision: "fp32", "tf32", "bf16" or "fp16", or "kept=bf16,moments=bf16" for a dict of what is
    rounded. The names of dtypes, such as "float16", mean the same.

    Raises `ValueError` for what is none.
    """
    if isinstance(precision, str) and "=" in precision:
        precision = _kinds(precision)
    if isinstance(precision, Mapping):
        return _of_kinds(precision)
    name = _short(precision)
    if name in PRECISIONS:
        return name
    meant = _INSTEAD.get(str(getattr(precision, "__name__", precision)).rpartition(".")[2])
    advice = f"write precision={meant!r}" if meant else 'write precision="bf16", or dict(kept="bf16")'
    raise ValueError(
        located(
            f'precision is "fp32", "tf32", "bf16", "fp16", or a dict of what is rounded, got {precision!r}; {advice}'
        )
    )


def is_precision(name: Any) -> bool:
    """Whether this is the name of a precision, as `checked_precision` gives it."""
    try:
        return isinstance(name, str) and checked_precision(name) == name
    except ValueError:
        return False


def of_products(precision: str) -> str:
    """The precision of products and activations: "fp32", "tf32", "bf16" or "fp16"."""
    return precision if precision in PRECISIONS else _kinds(precision).get("products", "fp32")


def rounded_dtype(precision: str) -> DType | None:
    """The dtype that products and activations are rounded to, None where they are not."""
    return HALVES.get(of_products(precision))


def stored_dtype(precision: str, what: str) -> DType | None:
    """The dtype of two bytes that what `STORED` names is stored in, None where it is not."""
    return None if precision in PRECISIONS else HALVES.get(_kinds(precision).get(what, ""))


def with_kept(precision: str, half: str) -> str:
    """The precision with what the backward reads stored in two bytes, "bf16" or "fp16", or as it is, "fp32"."""
    kinds = _kinds(precision) if precision not in PRECISIONS else {"products": precision}
    return _of_kinds({**kinds, "kept": half})


def of_storage(precision: str) -> str:
    """The precision with nothing but how the arrays of a step are stored."""
    kinds = {} if precision in PRECISIONS else _kinds(precision)
    return _of_kinds({what: half for what, half in kinds.items() if what in ("moments", "parameters")})


def of_functions(precision: str) -> str:
    """The precision of a function that is no training step. Raises `ValueError` for one that says of a step's values
    how they are stored.
    """
    name = checked_precision(precision)
    stored = [what for what in STORED if stored_dtype(name, what) is not None]
    if stored:
        raise ValueError(
            located(
                f"precision={precision!r}: {stored[0]} is of training steps, gl.compile_step(..., precision=...); "
                f"write precision={of_products(name)!r} here"
            )
        )
    return name


def half_name(dtype: DType) -> str:
    """The name of the precision of a dtype of two bytes."""
    return next(name for name, half in HALVES.items() if half == dtype)


def half_of(name: Any) -> str | None:
    """The short name of two bytes that is meant, "bf16" or "fp16"; None where none is."""
    short = _short(name)
    return short if isinstance(short, str) and short in HALVES else None


def _short(name: Any) -> Any:
    """The short name where the name of a dtype was given, and anything else as it is."""
    return _FULL_NAMES.get(name, name) if isinstance(name, str) else name


def _kinds(name: str) -> dict[str, str]:
    parts = (part.partition("=") for part in name.split(","))
    return {what.strip(): how.strip() for what, _, how in parts}


def _of_kinds(given: Mapping[Any, Any]) -> str:
    """The name of a dict: without what is not rounded, in one order."""
    there = {"products": PRECISIONS, **dict.fromkeys(STORED, ("fp32", *HALVES))}
    short = {what: _short(name) for what, name in given.items()}
    for what, name in short.items():
        if what not in there:
            raise ValueError(located(f"precision has no {what!r}; it is a dict of {', '.join(there)}"))
        if name not in there[what]:
            *others, last = map(repr, there[what])
            raise ValueError(located(f"precision of {what} is {', '.join(others)} or {last}, got {given[what]!r}"))
    rounded = {what: short[what] for what in there if short.get(what, "fp32") != "fp32"}
    if not rounded or list(rounded) == ["products"]:
        return rounded.get("products", "fp32")
    return ",".join(f"{what}={name}" for what, name in rounded.items())
