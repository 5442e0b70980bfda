"""Digests of functions: equal for what does the same, and none for what may change."""

from __future__ import annotations

import math
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gradloom.ir.function_digest import FunctionParts, UnfrozenError, function_of


def defined(source: str, **names: Any) -> FunctionType:
    space: dict[str, Any] = {"np": np, "math": math, **names}
    exec(source, space)
    return space["f"]


def digest(source: str, **names: Any) -> str:
    return FunctionParts(defined(source, **names)).digest


PLAIN = "def f(x):\n    return x + 1"


def test_code_constants_and_what_is_read_make_the_digest():
    assert digest(PLAIN) == digest(PLAIN)
    assert digest(PLAIN) == digest("# a comment\n" + PLAIN)
    assert digest(PLAIN) != digest("def f(x):\n    return x + 1.0")
    assert digest(PLAIN) != digest("def f(x):\n    return x - 1")
    reads = "def f(x):\n    return x + K"
    assert digest(reads, K=1) == digest(reads, K=1)
    assert len({digest(reads, K=k) for k in (1, 1.0, True, 2, (1,), np.float32(1))}) == 6
    calls = "def f(x):\n    return g(x)"
    assert digest(calls, g=defined(PLAIN)) != digest(calls, g=defined("def f(x):\n    return x"))
    assert digest("def f(x):\n    return np.exp(x)") != digest("def f(x):\n    return np.log(x)")


def test_a_function_may_call_itself_and_numbas():
    recursive = defined("def f(x):\n    return f(x - 1) if x else 0")
    assert FunctionParts(recursive).digest
    jitted = SimpleNamespace(py_func=recursive)
    assert function_of(jitted) is recursive
    assert FunctionParts(defined("def f(x):\n    return g(x)", g=jitted)).functions.keys() >= {recursive}
    assert function_of(len) is None


def test_functions_of_a_module_are_read_through_it():
    module = type(math)("kernels")
    reads = "def f(x):\n    return kernels.g(x)"
    module.g = defined(PLAIN)  # type: ignore[attr-defined]
    one = digest(reads, kernels=module)
    module.g = defined("def f(x):\n    return x")  # type: ignore[attr-defined]
    assert digest(reads, kernels=module) != one


@pytest.mark.parametrize("value", [[1], {"a": 1}, np.arange(3), object(), ([1],)])
def test_what_may_change_has_no_digest(value):
    with pytest.raises(UnfrozenError, match=r"K is of type .*, and machine code would hold what it is now"):
        digest("def f(x):\n    return x + K", K=value)


def test_an_attribute_is_no_global():
    assert digest("def f(x):\n    return x.size", size=[1]) == digest("def f(x):\n    return x.size", size=[2])


def test_a_raise_is_seen_in_all_that_is_called():
    assert not FunctionParts(defined(PLAIN)).may_raise
    assert FunctionParts(defined("def f(x):\n    assert x\n    return x")).may_raise
    raising = defined("def f(x):\n    raise ValueError")
    assert FunctionParts(defined("def f(x):\n    return g(x)", g=raising)).may_raise
