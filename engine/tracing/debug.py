"""`gl.debug`: looking at values while a compiled program runs."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import optree

from ...ir import Array, Value
from .missing_names import attributes_of
from .tracer import Trace, Tracer, current_trace, located

__all__ = ["print"]


def print(fmt: str, *args: Any, **kwargs: Any) -> None:
    """Print `fmt.format(*args, **kwargs)` each time that the program runs, with the values that it computed.

    `gl.debug.print("{x} of {}", n, x=x)`, as `jax.debug.print`. Arguments are pytrees; traced arrays in them come as
    NumPy arrays, scalars as NumPy scalars. Lines come in the order in which they stand in the program, when the run is
    over; in a `scan` once for each step, in a `vmap` for each example that differs. A value is printed whole and once,
    also where the program runs in tiles of the batch or computes it twice. Outside a program it prints at once. It
    changes no derivative, and no bit.

    Raises `ValueError` where `fmt` and the arguments do not fit together, `NotImplementedError` in the body of a
    `while_loop` or a `cond`, whose arrays nobody keeps: print what it returns.
    """
    _check(fmt, args, kwargs)
    trace = current_trace()
    if trace is None:
        builtins.print(fmt.format(*args, **kwargs))
        return
    around: Trace | None = trace
    while around is not None:
        if around.prints is None:
            what = "gl.debug.print in the body of a while_loop, a cond or a custom_vjp"
            raise NotImplementedError(located(f"{what} would have to keep all that it prints; print what it returns"))
        around = around.parent
    assert trace.prints is not None
    leaves, tree = optree.tree_flatten((args, kwargs))  # pyright: ignore[reportArgumentType]
    values = tuple(trace.lift(leaf) for leaf in leaves if isinstance(leaf, Tracer))
    fixed = tuple(_HOLE if isinstance(leaf, Tracer) else leaf for leaf in leaves)
    trace.prints.append(Printed(fmt, fixed, tree, values))


_HOLE = object()
"""What stands for a traced array among the leaves of the arguments."""


@dataclass(frozen=True)
class Printed:
    """One line to print: the arguments, and the values that fill the holes in them."""

    fmt: str
    leaves: tuple[Any, ...]
    tree: optree.PyTreeSpec
    values: tuple[Value, ...]

    def lines(self, arrays: Iterator[Array]) -> Iterator[str]:
        """The line, with the arrays that come next."""
        # A copy: a line that is kept must not change with the memory of the program.
        filled = [next(arrays)[()] if leaf is _HOLE else leaf for leaf in self.leaves]
        args, kwargs = optree.tree_unflatten(self.tree, filled)
        yield self.fmt.format(*args, **cast(dict[str, Any], kwargs))


@dataclass(frozen=True)
class PrintedLoop:
    """The lines of the body of a loop, of whose values there are stacks."""

    inside: tuple[Printed | PrintedLoop, ...]
    length: int
    reverse: bool
    values: tuple[Value, ...]

    def lines(self, arrays: Iterator[Array]) -> Iterator[str]:
        """The lines, iteration by iteration."""
        stacks = [next(arrays) for _ in self.values]
        for t in reversed(range(self.length)) if self.reverse else range(self.length):
            yield from all_lines(self.inside, (stack[t] for stack in stacks))


Prints = Sequence[Printed | PrintedLoop]


def printed_values(prints: Prints) -> list[Value]:
    """The values that `prints` need, which the program returns besides its results."""
    return [value for one in prints for value in one.values]


def all_lines(prints: Prints, arrays: Iterator[Array]) -> Iterator[str]:
    """The lines in their order, for the arrays of `printed_values`."""
    for one in prints:
        yield from one.lines(arrays)


def show(prints: Prints, arrays: Sequence[Array]) -> None:
    """Print all lines."""
    for line in all_lines(prints, iter(arrays)):
        builtins.print(line)


class _Fields(Formatter):
    """Formats nothing, and sees to it that it could be."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        if isinstance(value, Tracer) and format_spec:
            if value.shape:
                raise ValueError(
                    located(f"the format {format_spec!r} is for scalars, and the array has shape {value.shape}")
                )
            format(np.zeros((), value.dtype)[()], format_spec)
        return ""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return value

    def check_unused_args(self, used_args: Any, args: Any, kwargs: Any) -> None:
        unused = [str(key) for key in (*range(len(args)), *kwargs) if key not in used_args]
        if unused:
            raise ValueError(located(f"nothing prints the argument {', '.join(unused)}"))


def _check(fmt: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if not isinstance(fmt, str):
        raise TypeError(located(f"gl.debug.print takes a format first, as in print('{{x}}', x=x), got {fmt!r}"))
    try:
        _Fields().vformat(fmt, args, kwargs)
    except (KeyError, IndexError) as error:
        raise ValueError(located(f"gl.debug.print: {fmt!r} asks for {error.args[0]!r}, which is not given")) from None
    except ValueError as error:
        raise ValueError(located(f"gl.debug.print: {fmt!r}: {error}")) from None


if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "gl.debug")
__dir__ = __all__.copy
