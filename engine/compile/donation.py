"""Arguments whose memory the results of a compiled function take over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optree

from ...ir import Array, Graph
from ..tracing.errors import located
from ..tracing.numbers import as_whole


def donated_positions(argnums: int | Sequence[int]) -> frozenset[int]:
    """Positions as Python's numbers. Raises `ValueError` for what is none."""
    given = argnums if isinstance(argnums, (tuple, list, set, frozenset)) else (argnums,)
    whole = [as_whole(number) for number in given]
    if any(number is None or number < 0 for number in whole):
        raise ValueError(located(f"donate_argnums are positions of arguments, 0 or more, got {argnums!r}"))
    return frozenset(number for number in whole if number is not None)


def donated_inputs(tree: optree.PyTreeSpec, is_input: Sequence[bool], positions: frozenset[int]) -> list[int]:
    """The inputs of the program that belong to donated arguments; `tree` is that of `(args, kwargs)`. Raises
    `ValueError` for a position that there is not.
    """
    args = tree.children()[0].children()
    missing = [position for position in positions if position >= len(args)]
    if missing:
        raise ValueError(
            located(f"donate_argnums has {missing[0]}, and the function was called with {len(args)} positions")
        )
    owners = [i for i, arg in enumerate(args) for _ in range(arg.num_leaves)]
    owners += [-1] * (len(is_input) - len(owners))
    inputs = [owner for owner, is_one in zip(owners, is_input) if is_one]
    return [i for i, owner in enumerate(inputs) if owner in positions]


def with_donated(graph: Graph, donated: Sequence[int]) -> Graph:
    """The graph whose outputs overwrite donated inputs: each the first that is left of its type, in order."""
    free = list(donated)
    aliases: dict[int, int] = {}
    for k, output in enumerate(graph.outputs):
        found = next((i for i in free if graph.inputs[i].type == output.type), None)
        if found is not None:
            free.remove(found)
            aliases[k] = found
    return Graph(graph.inputs, graph.nodes, graph.outputs, aliases, graph.output_names)


def own_arrays(arrays: list[Array], overwritten: Sequence[int]) -> list[Array]:
    """The arrays of a call, of which those that are overwritten are copied where they share memory with another, or may
    not be written.
    """
    result = list(arrays)
    spans = sorted((a.__array_interface__["data"][0], a.nbytes, i) for i, a in enumerate(arrays) if a.nbytes)
    written = set(overwritten)
    shared = {i for i in written if not arrays[i].flags.writeable}
    end, last = 0, -1
    for begin, nbytes, i in spans:
        if begin < end:
            shared |= {i, last} & written
        if begin + nbytes > end:
            end, last = begin + nbytes, i
    for i in shared:
        result[i] = np.array(arrays[i])
    return result
