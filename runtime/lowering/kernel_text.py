"""A kernel under construction: the lines of its source, and the arguments that it reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import SHORT_NAMES, Value
from .launch import Address, Arg, Call


class KernelText:
    """The source of a kernel, and its arguments. The `head` reads them before the `lines` run."""

    def __init__(self) -> None:
        self.args: list[Arg] = []
        self.head: list[str] = []
        self.lines: list[str] = []
        self._strides: dict[int, str] = {}
        self._reals: dict[tuple[np.dtype[Any], int], str] = {}

    def word(self, arg: Arg) -> str:
        """An argument in source."""
        self.args.append(arg)
        return f"word(b, {len(self.args) - 1})"

    def number(self, name: str, value: int) -> str:
        """An integer under this name."""
        self.head.append(f"    {name} = {self.word(value)}")
        return name

    def stride(self, value: int) -> str:
        """A stride or length in source; equal ones share an argument."""
        if value in (0, 1):
            return str(value)
        if value not in self._strides:
            self._strides[value] = self.number(f"k{len(self._strides)}", value)
        return self._strides[value]

    def real(self, value: Any, dtype: np.dtype[Any]) -> str:
        """A real number whose bits are an argument; equal ones share it."""
        bits = int(dtype.type(value).view(f"i{dtype.itemsize}"))
        if (dtype, bits) not in self._reals:
            name = self._reals[dtype, bits] = f"real{len(self._reals)}"
            self.head.append(f"    {name} = real_{SHORT_NAMES[dtype]}({self.word(bits)})")
        return self._reals[dtype, bits]

    def array(self, name: str, value: Value, address: Address) -> str:
        """An array of the value's dtype at an address, under this name."""
        self.head.append(f"    {name} = array_{SHORT_NAMES[value.type.dtype]}({self.word(address)}, 0)")
        return name

    # ---- what is written otherwise where many threads run the kernel

    def along(self, n: str, kind: str = "") -> str:
        """The head of a loop over the columns of a row of `n`; the elements of a `parallel_` or `masked_` one are
        independent.
        """
        return f"for j in {kind}range({n}):"

    def stop(self, code: str) -> str:
        """A statement that ends the run with a code of a trap."""
        return f"return {code}"

    def wait(self, indent: str) -> list[str]:
        """Lines after which all that was written is seen."""
        return []

    def once(self, statement: str, indent: str) -> list[str]:
        """Lines that store what a row, or a tile, has once."""
        return [indent + statement]

    def call(self) -> Call:
        """The call of the kernel as it stands."""
        return Call("\n".join(["def kernel(b):", *self.head, *self.lines, "    return i64(0)", ""]), self.args)
