"""How the batch of a step is shared: equal parts, of which each rank has as many, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir import Array, Node, Value


@dataclass(frozen=True)
class Shares:
    """The batch falls into `parts` equal parts, whose number does not depend on the `ranks`. Rank r has those from
    r * `local` on. `leaves` are the numbers of the inputs that have rows of the batch.
    """

    ranks: int
    parts: int
    leaves: tuple[int, ...] = ()

    @property
    def local(self) -> int:
        """Parts of each rank."""
        return self.parts // self.ranks

    def part(self, inputs: Sequence[Array], number: int) -> list[Array]:
        """The inputs of the graph of one part, of those that a rank is given: of its parts the one of this number."""
        found = list(inputs)
        for i in self.leaves:
            rows = len(inputs[i]) // self.local
            found[i] = inputs[i][number * rows : (number + 1) * rows]
        return found


def varies(node: Node, varying: set[Value]) -> bool:
    """Whether ranks have different outputs of a node, where they have different `varying` values."""
    if node.op.on_ranks is not None:
        return node.op.on_ranks == "own"
    return not varying.isdisjoint(node.inputs)
