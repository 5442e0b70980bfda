"""Native functions: Python functions that become a few LLVM instructions where a kernel calls them, and their types.

A type is named as in `SHORT_NAMES`, "f32" or "bool"; a pointer to elements of it ends in a star. A boolean is one bit
as a value and a byte in memory, a bfloat16 or float16 a float32 as a value and a u16 in memory.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

BYTE = ir.IntType(8)
INT = ir.IntType(32)
WORD = ir.IntType(64)

_LLVM: dict[str, ir.Type] = {
    "none": ir.VoidType(),
    "bool": ir.IntType(1),
    **{f"{sign}{bits}": ir.IntType(bits) for sign in "iu" for bits in (8, 32, 64)},
    "u16": ir.IntType(16),
    "f32": ir.FloatType(),
    "f64": ir.DoubleType(),
}

_IN_MEMORY: dict[str, ir.Type] = {"bool": BYTE, "bf16": ir.IntType(16), "f16": ir.IntType(16)}

NUMBERS = ("i8", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64")

Signature = tuple[str, tuple[str, ...]]
"""Types of the result and of the parameters."""


def llvm_type(name: str, in_memory: bool = False) -> ir.Type:
    """LLVM's type of values, or of elements in memory."""
    if name.endswith("*"):
        return llvm_type(name[:-1], True).as_pointer()
    return _IN_MEMORY[name] if in_memory and name in _IN_MEMORY else _LLVM[name]


@dataclass(frozen=True)
class Native:
    """`emit(builder, *values)` appends instructions and returns the result; `typed` is the signature for arguments of
    some types, to which they are then converted, or None where there is none.
    """

    emit: Callable[..., Any]
    typed: Callable[[tuple[str, ...]], Signature | None]


NATIVES: dict[Any, Native] = {}
"""The native functions by the Python functions that do the same."""


@dataclass(frozen=True)
class Machine:
    """A kind of machine: the native functions that are something else there than on a CPU, or are only there."""

    name: str
    natives: Mapping[Any, Native]

    def native(self, function: Any) -> Native | None:
        """What a Python function is on this machine, or None where it is no native function."""
        return self.natives.get(function) or NATIVES.get(function)


CPU = Machine("a CPU", {})


def native(emit: Callable[..., Any], returns: str, *parameters: str) -> Callable[[Any], Any]:
    """Decorates the Python function of a native function of these types."""

    def typed(arguments: tuple[str, ...]) -> Signature | None:
        return (returns, parameters) if len(arguments) == len(parameters) else None

    def decorate(function: Any) -> Any:
        NATIVES[function] = Native(emit, typed)
        return function

    return decorate


APART: set[Any] = set()
"""Python functions of words that our front end makes a function of their own, which is called, instead of putting their
code where a kernel calls them; what they return is a word, too.
"""


def apart(function: Any) -> Any:
    """Decorates a function that is called in several places, but seldom, or that takes long."""
    APART.add(function)
    return function


def external(name: str, returns: str, *parameters: str) -> Any:
    """The native function that calls a function of the C library."""

    def emit(builder: Any, *values: Any) -> Any:
        typed = ir.FunctionType(llvm_type(returns), [llvm_type(parameter) for parameter in parameters])
        return builder.call(declared(builder.module, name, typed), values)

    def function(*arguments: int) -> int:
        return getattr(ctypes.CDLL(None), name)(*arguments)

    return native(emit, returns, *parameters)(function)


# ---- for those that emit instructions


def declared(module: Any, name: str, typed: Any) -> Any:
    """The function of a module that has this name."""
    found = module.globals.get(name)
    return ir.Function(module, typed, name) if found is None else found


def stack_slot(builder: Any, typed: Any) -> Any:
    """Memory for one value, however often the code where it stands runs."""
    with builder.goto_entry_block():
        return builder.alloca(typed)


@contextlib.contextmanager
def counted_loop(builder: Any, n: Any) -> Iterator[Any]:
    """A loop whose index runs from 0 to below the word `n`."""
    before, head = builder.block, builder.append_basic_block()
    body, after = builder.append_basic_block(), builder.append_basic_block()
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(WORD)
    index.add_incoming(WORD(0), before)
    builder.cbranch(builder.icmp_signed("<", index, n), body, after)
    builder.position_at_end(body)
    yield index
    index.add_incoming(builder.add(index, WORD(1), flags=("nsw",)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)
