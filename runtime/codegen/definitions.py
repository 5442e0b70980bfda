"""Where functions are defined: their syntax trees, for front ends that read source."""

from __future__ import annotations

import ast
import linecache
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any

from ...ir.function_digest import code_text
from .arithmetic import Unsupported

Definitions = Mapping[tuple[str, int], ast.FunctionDef]
"""Functions by their names and first lines."""


@lru_cache(8)
def _definitions(file: str) -> Definitions:
    """The functions that a file defines."""
    return _definitions_in("".join(linecache.getlines(file)))


@lru_cache(8)
def _definitions_in(text: str) -> Definitions:
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    return {(node.name, min(part.lineno for part in (node, *node.decorator_list))): node for node in found}


@lru_cache(8)
def _codes_in(text: str) -> dict[tuple[str, int], CodeType]:
    """The code of the functions in a text, by their names and first lines."""
    found: dict[tuple[str, int], CodeType] = {}
    left = [compile(text, "<text>", "exec", dont_inherit=True)]
    while left:
        code = left.pop()
        found[code.co_name, code.co_firstlineno] = code
        left += (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return found


def _as_it_runs(code: CodeType, names: dict[str, Any]) -> Definitions:
    """The functions in the file of a user's function, if it still is what the function was made of."""
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename, names))
    try:
        found = _codes_in(text).get((code.co_name, code.co_firstlineno))
    except (SyntaxError, ValueError):
        return {}
    return _definitions_in(text) if found is not None and code_text(found) == code_text(code) else {}


_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def definition(function: Callable[..., Any]) -> ast.FunctionDef:
    """Where a function is defined, as its syntax tree. Raises `Unsupported`."""
    code, file = function.__code__, function.__code__.co_filename
    is_ours = file.startswith((_OURS, "<kernel "))  # and does not change
    found = (_definitions(file) if is_ours else _as_it_runs(code, function.__globals__)).get(
        (code.co_name, code.co_firstlineno)
    )
    if found is None:
        raise Unsupported(f"the source of {code.co_name} cannot be found")
    return found
