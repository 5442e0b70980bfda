"""The table of ops, which a checkout has among its tests, as programs for a GPU."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir import Array, Graph
from ...passes.pipeline import plan_graph
from ...passes.target import Target
from ...runtime.backend import backend_of
from .models import CHECKOUT


def tests_module(name: str) -> Any:
    """A module of the tests. Raises `FileNotFoundError` where the package is no checkout."""
    folder = CHECKOUT / "tests"
    if not (folder / f"{name}.py").exists():
        raise FileNotFoundError(
            f"the table of ops, {folder / 'op_cases.py'}: install a checkout, by pip install -e '.[cuda]' in its folder"
        )
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return importlib.import_module(name)


def rows_by_op() -> dict[str, list[Any]]:
    """The rows of each op by its name, in the order of the table."""
    rows: dict[str, list[Any]] = {}
    for case in tests_module("op_cases").CASES:
        rows.setdefault(case.name, []).append(case)
    return rows


def run_graph(graph: Graph, arrays: Sequence[Array], target: Target) -> list[Array]:
    """The outputs of a traced graph on a target. Raises what its backend raises."""
    program = backend_of(target).build(plan_graph(graph, target=target))
    outputs = [np.empty(value.type.shape, value.type.dtype) for value in graph.outputs]
    program.run([np.ascontiguousarray(array) for array in arrays], outputs)
    return outputs
