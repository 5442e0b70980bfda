"""The calls of modules inside an exported graph: which nodes each is made of, so that layers can be watched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class InnerCall:
    """One call of the module at `path`: the nodes that it reads, and those that are read outside."""

    path: str
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


def inner_calls(graph: Any) -> dict[Any, list[InnerCall]]:
    """By the last node of each call of a module inside, the calls that end with it, innermost first."""
    found: dict[str, list[Any]] = {}
    paths: dict[str, str] = {}
    for node in graph.nodes:
        for key, (path, _) in _stack(node).items():
            found.setdefault(key, []).append(node)
            paths[key] = plain_path(path)
    ends: dict[Any, list[InnerCall]] = {}
    for key, nodes in sorted(found.items(), key=lambda item: -paths[item[0]].count(".")):
        own = set(nodes)
        inputs = dict.fromkeys(x for node in nodes for x in node.all_input_nodes if x not in own)
        outputs = [node for node in nodes if any(user not in own for user in node.users)]
        if paths[key] and outputs:
            ends.setdefault(nodes[-1], []).append(InnerCall(paths[key], tuple(inputs), tuple(outputs)))
    return ends


def place(node: Any) -> tuple[str, str]:
    """The path and the class of the innermost module that a node belongs to."""
    stack = _stack(node)
    path, kind = list(stack.values())[-1] if stack else ("", "")
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return plain_path(path), name.rpartition(".")[2]


def _stack(node: Any) -> Mapping[str, tuple[str, Any]]:
    """The modules around a node, outermost first, by keys of which each call has its own."""
    stack = (node.meta.get("nn_module_stack") or {}) if node.op == "call_function" else {}
    return {key: value for key, value in stack.items() if not value[0].startswith("_empty_nn_module_stack")}


def plain_path(path: str) -> str:
    """A path without what torch adds where a module is called more than once: `layers.0@1`."""
    return path.partition("@")[0]
