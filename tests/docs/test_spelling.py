"""The tables of spelling are true: each right side runs, and gives what the left side gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradloom as gl
import numpy as np
import optree
import pytest
from doc_pages import DOCS, code_in, tables
from doc_programs import ran

PYTORCH, JAX, NUMPY = (DOCS / "guide" / f"from_{name}.md" for name in ("pytorch", "jax", "numpy"))
TRACED = "in a traced function"
X = np.linspace(-1, 1, 12).reshape(3, 4)


def rows(page: Path, head: str) -> list[list[str]]:
    return [row for second, found in tables(page) if second == head for row in found]


def traced(code: str, names: dict[str, Any], x: np.ndarray) -> Any:
    """What an expression gives of `x` in a program, run by the interpreter."""
    code = f"x = {code}" if not code.startswith("gl.debug") else f"{code}; x = x"

    def program(x: Any) -> Any:
        local = {**names, "x": x}
        with gl.random.key(0):
            exec(compile(code, "<table>", "exec"), local)
        return local["x"]

    return gl.interpret(gl.trace(program, x), x)[0]


@pytest.mark.parametrize("page", [PYTORCH, JAX], ids=["PyTorch", "JAX"])
def test_each_right_side_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names = dict(ran(page).names)
    found = rows(page, "Gradloom")
    for left, right, *note in found:
        assert code_in(left) or note == [], left
        if note or page == PYTORCH:
            for code in code_in(right):
                exec(compile(code, left, "exec"), names)
    assert len(found) > 20


def test_what_stands_for_names_of_jax_without_a_like_runs():
    names = dict(ran(JAX).names)
    names |= {"shape": (3,), "seed": 0, "gradients": names["params"]}
    for row in rows(JAX, "Gradloom"):
        for code in code_in(row[1]) if len(row) == 2 else []:
            if code.startswith(("gl.", "optimizer.", "print", "with")):
                with gl.random.key(0):
                    exec(compile(f"{code} pass" if code.endswith(":") else code, row[0], "exec"), names)


@pytest.mark.parametrize("page", [PYTORCH, NUMPY], ids=["PyTorch", "NumPy"])
def test_each_right_side_is_traced(page: Path):
    for left, right, _ in rows(page, TRACED):
        for code in code_in(right):
            assert traced(code, ran(page).names, X.astype("float32")) is not None, left


def test_numpy_gives_the_same():
    """Where both sides are expressions, or the left one writes into `x`."""
    names = ran(NUMPY).names
    for left, right, _ in rows(NUMPY, TRACED):
        (theirs,), ours = code_in(left), code_in(right)[0]
        if theirs.startswith(("if", "while", "for", "np.random", "print", "np.vectorize", "scipy", "np.unique")):
            continue
        local = {**names, "x": X.copy()}
        try:
            expected = eval(theirs, local)
        except SyntaxError:
            expected = None
            exec(theirs, local)
        expected = local["x"] if expected is None else expected
        assert np.allclose(traced(ours, names, X), expected), left


def test_what_is_refused_is_refused():
    for cell, _ in [[row[0], row[1:]] for _, found in tables(NUMPY) for row in found if len(row) == 2]:
        for code in code_in(cell):
            with pytest.raises((gl.TracingError, TypeError, AttributeError), match="<table>:1"):
                traced(code, ran(NUMPY).names, X)


def same(theirs: Any, ours: Any) -> bool:
    leaves, others = optree.tree_leaves(theirs), optree.tree_leaves(ours)
    return len(leaves) == len(others) and all(map(lambda a, b: np.allclose(a, b, atol=1e-5), leaves, others))


@pytest.mark.peers
def test_torch_gives_the_same():
    torch = pytest.importorskip("torch")
    for left, right, _ in rows(PYTORCH, TRACED):
        expected = eval(code_in(left)[0], {"torch": torch, "x": torch.from_numpy(X.astype("float32"))})
        expected = expected.numpy() if hasattr(expected, "numpy") else expected
        assert same(expected, traced(code_in(right)[0], ran(PYTORCH).names, X.astype("float32"))), left


@pytest.mark.peers
def test_jax_gives_the_same():
    jax = pytest.importorskip("jax")
    pytest.importorskip("jax.flatten_util")
    names = ran(JAX).names
    theirs = {"jax": jax, "jnp": jax.numpy, "x": jax.numpy.asarray(X)}
    exec("def f(x):\n    return jnp.sum(jnp.tanh(x) ** 2)\n", theirs)
    exec("def body(carry, x):\n    return carry + x, carry * x\n", theirs)
    for left, right, *note in rows(JAX, "Gradloom"):
        if note:
            assert same(eval(code_in(left)[0], theirs), eval(code_in(right)[0], names)), left
