"""Scratch of units that a library of a GPU runs: workspace, and before it what is packed for the library."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir import Node, Value
from ..graph.views import View
from ..target import Target
from .library_calls import product_by_library, product_workspace
from .library_convolutions import convolution_by_library


def library_scratch(node: Node, views: Mapping[Value, View], target: Target) -> int:
    """Bytes of it; 0 where no library runs the unit."""
    product = product_by_library(node, views, target)
    if product is not None:
        return product_workspace(product, target)
    convolution = convolution_by_library(node, views, target)
    return 0 if convolution is None else convolution.filter_bytes(target) + convolution.workspace_bytes(target)
