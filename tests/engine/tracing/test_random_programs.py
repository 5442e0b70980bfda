"""Random NumPy programs, compiled and interpreted, give what NumPy gives; derivatives agree with differences."""

from __future__ import annotations

from typing import Any

import gradloom as gl
import numpy as np
import pytest
from random_programs import Program, random_program

IN_SUITE, IN_ALL = 100, 4000


def weight(i: int, shape: tuple[int, ...]) -> Any:
    return np.cos(np.arange(np.prod(shape, dtype=int)) * 0.7 + i).reshape(shape)


def loss(program: Program, *inputs: Any) -> Any:
    """A number that depends on each element of each float result in its own way."""
    results = [r for r in program.function(*inputs) if r.dtype.kind == "f"]
    return sum((np.sum(r.astype("float64") * weight(i, r.shape)) for i, r in enumerate(results)), np.float64(0.0))


def error_scale(program: Program, expected: tuple[Any, ...]) -> list[float]:
    """How far each result moves when the inputs move by a few units in their last place: the most of several tries."""
    rng = np.random.default_rng(0)
    moved = [0.0 for _ in expected]

    def near(x: Any) -> Any:
        if x.dtype.kind != "f":
            return x
        return (x * (1 + 4 * np.finfo(x.dtype).eps * rng.uniform(-1, 1, x.shape))).astype(x.dtype)

    for _ in range(3):
        inputs = [near(x) for x in program.inputs]
        for i, (other, result) in enumerate(zip(program.function(*inputs), expected)):
            moved[i] = max(moved[i], float(np.abs(other - result).max(initial=0))) if result.dtype.kind == "f" else 0.0
    return moved


def check_values(program: Program, how: str, results: Any, expected: tuple[Any, ...], moved: list[float]) -> None:
    lowest = min((np.finfo(x.dtype).eps for x in program.inputs if x.dtype.kind == "f"), default=2.3e-16)
    for i, (result, right) in enumerate(zip(results, expected, strict=True)):
        where = f"result {i} of program {program.seed}, {how}:\n{program.source}"
        assert result.shape == right.shape, where
        assert result.dtype == right.dtype, where
        if right.dtype.kind != "f":
            np.testing.assert_array_equal(result, right, where)
            continue
        unit = max(np.finfo(right.dtype).eps, lowest if "astype" not in program.source else 1.2e-7)
        largest = float(np.abs(right).max(initial=1))
        np.testing.assert_allclose(result, right, rtol=0, atol=256 * unit * largest + 16 * moved[i], err_msg=where)


def check_gradients(program: Program, wanted: list[int], gradients: Any) -> None:
    """Along a random direction, against differences at two distances; where those disagree, nothing is said."""
    rng = np.random.default_rng(1)
    directions = [rng.standard_normal(program.inputs[i].shape) for i in wanted]
    along = sum(float(np.sum(g * d)) for g, d in zip(gradients, directions))

    def at(h: float) -> float:
        inputs = list(program.inputs)
        for i, direction in zip(wanted, directions):
            inputs[i] = inputs[i] + h * direction
        return float(loss(program, *inputs))

    coarse, fine = ((at(h) - at(-h)) / (2 * h) for h in (2e-5, 1e-5))
    size = 1e-5 * (1 + abs(fine))
    if abs(coarse - fine) < size:
        assert abs(along - fine) < 4 * size, (along, fine, program.source)


def wanted(program: Program) -> tuple[int, ...]:
    return tuple(i for i, x in enumerate(program.inputs) if x.dtype.kind == "f")


def both(program: Program, *inputs: Any) -> Any:
    """What the program gives, and the gradients of its loss."""
    places = wanted(program)
    gradients = gl.grad(lambda *inputs: loss(program, *inputs), argnums=places)(*inputs) if places else ()
    return program.function(*inputs), gradients


def check(program: Program, results: Any, gradients: Any) -> None:
    """Compare what was compiled with what is interpreted, with NumPy, and with differences."""
    with np.errstate(all="ignore"):
        expected = tuple(np.asarray(r) for r in program.function(*program.inputs))
        moved = error_scale(program, expected)
    graph = gl.trace(lambda *inputs: both(program, *inputs), *program.inputs)
    interpreted = gl.interpret(graph, *program.inputs)
    n = len(expected)
    check_values(program, "interpreted", interpreted[:n], expected, moved)
    check_values(program, "compiled", results, expected, moved)
    single = "float32" in program.source or any(x.dtype == "float32" for x in program.inputs)
    size = 1e-3 if single else 1e-9
    for i, (compiled, right) in enumerate(zip(gradients, interpreted[n:], strict=True)):
        assert compiled.dtype == right.dtype
        where = f"gradient {i}: {program.source}"
        np.testing.assert_allclose(compiled, right, size, size * np.abs(right).max(initial=1), err_msg=where)
    if wanted(program) and not single:
        with np.errstate(all="ignore"):
            check_gradients(program, list(wanted(program)), gradients)


def check_together(seeds: range) -> None:
    """Programs as one: their kernels are compiled side by side."""
    programs = [random_program(seed) for seed in seeds]
    together = gl.compile(lambda *inputs: [both(program, *x) for program, x in zip(programs, inputs)])
    for program, made in zip(programs, together(*(program.inputs for program in programs))):
        check(program, *made)


@pytest.mark.parametrize("tens", range(IN_SUITE // 10))
def test_programs_give_numpys_results_and_right_gradients(tens: int):
    check_together(range(10 * tens, 10 * tens + 10))


@pytest.mark.slow
@pytest.mark.parametrize("hundreds", range(IN_SUITE // 100, IN_ALL // 100))
def test_thousands_of_programs_give_numpys_results_and_right_gradients(hundreds: int):
    for seed in range(100 * hundreds, 100 * hundreds + 100, 10):
        check_together(range(seed, seed + 10))
