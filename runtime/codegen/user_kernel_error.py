"""The error for a kernel of a user's that cannot be compiled: what Numba says in a page, in one sentence."""

from __future__ import annotations

import linecache
import re

from ...ir.function_digest import FunctionParts
from ...ir.user_kernel import UserKernel

_ADVICE = "write loops over elements, with functions of math and of NumPy on single numbers"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ALLOCATES = ("NRT required but not enabled", "Only accept returning of array passed into the function")
_LEFT_OUT = ("Failed in ", "- Resolution failure", "During", "File ")


class UserKernelError(TypeError):
    """A user's kernel cannot be compiled."""


def refused(kernel: UserKernel, what: str, where: str = "", advice: str = _ADVICE) -> UserKernelError:
    """The error that says what is wrong with a kernel, where, and what to write instead."""
    at = where or (f", at {kernel.source}" if kernel.source else "")
    return UserKernelError(f"the kernel {kernel.name} cannot be compiled: {what}{at}; {advice}")


def refused_by_numba(kernel: UserKernel, error: Exception) -> UserKernelError:
    """What an error of Numba's comes to."""
    text = _COLOURS.sub("", str(error))
    where = _where(kernel, text)
    if "<dynamic> raise" in text:
        return refused(kernel, "the text of an exception is made as it runs", where, "raise one of a fixed text")
    if any(sign in text for sign in _ALLOCATES):
        advice = "write loops over elements; scratch= declares arrays to work in"
        return refused(kernel, "it takes memory for an array", where, advice)
    if "Cannot modify readonly array" in text:
        return refused(kernel, "it writes to an input", where, "write to results and to scratch alone")
    if found := re.search(r"(?:NumbaTypeError|NumbaValueError|UnsupportedError): ([^\n]+)", text):
        return refused(kernel, found[1], where)
    if found := re.search(r"No implementation of function [^\n]+\n\s*\n?\s*>>> ([^\n]+)", text):
        return refused(kernel, f"Numba knows no {found[1]}", where)
    lines = (line.strip() for line in text.splitlines())
    what = next((line for line in lines if line and not line.startswith(_LEFT_OUT)), type(error).__name__)
    return refused(kernel, what.partition(" Raised from")[0].rstrip("."), where)


def _where(kernel: UserKernel, text: str) -> str:
    """The innermost line of the user's that Numba names, with what stands there."""
    files = {code.co_filename for code in FunctionParts(kernel.function).codes}
    for file, number in re.findall(r"(?:at|defined at|from) ([^\n]+?) \((\d+)\)", text):
        if file in files:
            shown = kernel.source.rpartition(":")[0] if file == kernel.function.__code__.co_filename else file
            return f", at {shown}:{number} ({linecache.getline(file, int(number)).strip()})"
    return ""
