"""What passes and lowerings know of ops: traits, and the ops themselves where a rule is about one; never names."""

from __future__ import annotations

import ast
from pathlib import Path

import gradloom
import pytest
from gradloom.ir import OPS

ROOT = Path(gradloom.__file__).parent


def _is_name_of_an_op(part: ast.expr) -> bool:
    return (
        isinstance(part, ast.Attribute)
        and part.attr == "name"
        and isinstance(part.value, ast.Attribute)
        and part.value.attr == "op"
    )


@pytest.mark.parametrize("folder", ["passes", "runtime"])
def test_no_name_of_an_op_is_compared_with_a_literal(folder: str) -> None:
    """A misspelt name, or one of an op that is gone, would be no error; and a new op would be forgotten."""
    found: list[str] = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            parts = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            literals = {c.value for p in parts for c in ast.walk(p) if isinstance(c, ast.Constant)}
            if any(map(_is_name_of_an_op, parts)) and literals:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
            if isinstance(node, ast.Match) and _is_name_of_an_op(node.subject):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: match {ast.unparse(node.subject)}")
            if isinstance(node, ast.Set) and sum(ast.unparse(e).strip("'") in OPS for e in node.elts) > 1:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert not found
