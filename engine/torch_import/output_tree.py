"""What a module returned, in the structure that it returns: tuples, dicts, and classes of named fields."""

from __future__ import annotations

import functools
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from typing import Any

from .torch_package import torch_package


def rebuilt(tree: Any, leaves: Iterator[Any]) -> Any:
    """The leaves in the structure of a `TreeSpec` of torch's. A class of named fields, such as a `ModelOutput` of
    `transformers`, becomes a named tuple of its class's name, which functions here take for a tree.
    """
    if tree.is_leaf():
        return next(leaves)
    # The older name warns in new torch, the newer one is not in old torch.
    children = tree.children() if hasattr(tree, "children") else tree.children_specs
    parts = [rebuilt(child, leaves) for child in children]
    kind, context = tree.type, tree.context
    if kind in (tuple, list):
        return kind(parts)
    if kind in (dict, OrderedDict):
        return dict(zip(context, parts))
    fields = context if isinstance(context, (list, tuple)) else None
    if isinstance(kind, type) and issubclass(kind, dict) and fields and len(fields) == len(parts):
        return named(kind.__name__, tuple(fields))(*parts)
    return torch_package().utils._pytree.SUPPORTED_NODES[kind].unflatten_fn(parts, context)


@functools.cache
def named(name: str, fields: tuple[str, ...]) -> Any:
    """A class of named tuples whose fields can be read as `x.loss` and as `x["loss"]`."""
    base: Any = namedtuple(name, fields)

    def item(self: Any, key: Any) -> Any:
        return getattr(self, key) if isinstance(key, str) else tuple.__getitem__(self, key)

    return type(name, (base,), {"__slots__": (), "__getitem__": item, "__doc__": f"What a {name} of torch holds."})
