"""The type of `backward.pull_back`, which the derivatives of loops and branches are given for their bodies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...ir import Builder, Node, Value

PullBack = Callable[[Builder, Sequence[Node], Mapping[Value, Value], Sequence[Value]], "list[Value | None]"]
"""From nodes, cotangents and the values to derive by to a cotangent for each of these; `None` where it is zero."""
