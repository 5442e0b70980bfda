"""What is rounded in a program: the names of precisions, and what each of them means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import located

PRECISIONS = ("fp32", "tf32", "bf16")
"""Of products and activations."""
STORED = ("kept", "moments")
"""What may be stored in bfloat16 by itself: values that the backward reads, moments of the optimizer."""
Precision = str | Mapping[str, str]
"""What `checked_precision` takes."""
_INSTEAD = {"float32": "fp32", "bfloat16": "bf16", "float16": "bf16", "fp16": "bf16", "mixed": "bf16", "amp": "bf16"}


def checked_precision(precision: Any) -> str:
    """One name for a precision: "fp32", "tf32" or "bf16", or "kept=bf16,moments=bf16" for a dict of what is rounded.

    Raises `ValueError` for what is none.
    """
    if isinstance(precision, str) and "=" in precision:
        precision = _kinds(precision)
    if isinstance(precision, Mapping):
        return _of_kinds(precision)
    if precision in PRECISIONS:
        return precision
    meant = _INSTEAD.get(str(getattr(precision, "__name__", precision)).rpartition(".")[2])
    advice = f"write precision={meant!r}" if meant else 'write precision="bf16", or dict(kept="bf16")'
    raise ValueError(
        located(f'precision is "fp32", "tf32", "bf16", or a dict of what is rounded, got {precision!r}; {advice}')
    )


def is_precision(name: Any) -> bool:
    """Whether this is the name of a precision, as `checked_precision` gives it."""
    try:
        return isinstance(name, str) and checked_precision(name) == name
    except ValueError:
        return False


def of_products(precision: str) -> str:
    """The precision of products and activations: "fp32", "tf32" or "bf16"."""
    return precision if precision in PRECISIONS else _kinds(precision).get("products", "fp32")


def is_stored_narrow(precision: str, what: str) -> bool:
    """Whether what `STORED` names is stored in bfloat16."""
    return precision not in PRECISIONS and what in _kinds(precision)


def with_kept(precision: str) -> str:
    """The precision with what the backward reads stored in bfloat16."""
    kinds = _kinds(precision) if precision not in PRECISIONS else {"products": precision}
    return _of_kinds({**kinds, "kept": "bf16"})


def of_functions(precision: str) -> str:
    """The precision of a function that is no training step. Raises `ValueError` for one that says of a step's values
    how they are stored.
    """
    name = checked_precision(precision)
    stored = [what for what in STORED if is_stored_narrow(name, what)]
    if stored:
        raise ValueError(
            located(
                f"precision={precision!r}: {stored[0]} is of training steps, gl.compile_step(..., precision=...); "
                f"write precision={of_products(name)!r} here"
            )
        )
    return name


def _kinds(name: str) -> dict[str, str]:
    parts = (part.partition("=") for part in name.split(","))
    return {what.strip(): how.strip() for what, _, how in parts}


def _of_kinds(given: Mapping[Any, Any]) -> str:
    """The name of a dict: without what is not rounded, in one order."""
    there = {"products": PRECISIONS, **dict.fromkeys(STORED, ("fp32", "bf16"))}
    for what, name in given.items():
        if what not in there:
            raise ValueError(located(f"precision has no {what!r}; it is a dict of {', '.join(there)}"))
        if name not in there[what]:
            choices = " or ".join(map(repr, there[what]))
            raise ValueError(located(f"precision of {what} is {choices}, got {name!r}"))
    rounded = {what: given[what] for what in there if given.get(what, "fp32") != "fp32"}
    if not rounded or list(rounded) == ["products"]:
        return rounded.get("products", "fp32")
    return ",".join(f"{what}={name}" for what, name in rounded.items())
