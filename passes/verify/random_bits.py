"""Random bits that are recomputed are those of the first time: equal computations have equal value numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...ir import Graph, Node
from ...ir.ops import creation
from .values import Numbering


def unlike_repeats(graph: Graph) -> Iterator[Node]:
    """The nodes with role `recompute`, in regions too, that draw random bits of a stream of another role, but not the
    same bits: of another key, or another type.

    Loops draw in bodies of their own, and are looked at one by one.
    """
    draws = _Draws()
    draws.results(graph)
    for node, number in draws.repeats:
        if number not in draws.first and node.attrs["stream"] in draws.streams:
            yield node


class _Draws(Numbering):
    """Takes note of what draws random bits outside of loops."""

    def __init__(self) -> None:
        super().__init__()
        self.in_loop = False
        self.first: set[int] = set()
        self.streams: set[int] = set()
        self.repeats: list[tuple[Node, int]] = []

    def loop(self, node: Node, inputs: Sequence[int]) -> Sequence[int]:
        before, self.in_loop = self.in_loop, True
        made = super().loop(node, inputs)
        self.in_loop = before
        return made

    def made(self, node: Node, inputs: Sequence[int]) -> Sequence[int]:
        made = super().made(node, inputs)
        if node.op is creation.random_bits and not self.in_loop:
            if node.origin.role == "recompute":
                self.repeats.append((node, made[0]))
            else:
                self.first.add(made[0])
                self.streams.add(node.attrs["stream"])
        return made
