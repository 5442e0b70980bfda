"""Value numbers of loops, iteration by iteration: the same for a loop and for its strip-mined form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir import Node
from ...ir.ops import movement
from ..graph.scan import Scan
from .values import Numbering


class Unrolled(Numbering):
    """Numbers the nodes of every iteration of a loop; a stacked output is the sequence of its iterations.

    A term is a `stack` of others, a `part` of a longer sequence, element `at` a place of one, or opaque. Sequences that
    are cut, joined and stacked again are the same row of steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.terms: list[Any] = []

    def number(self, key: Any) -> int:
        """The number of a term."""
        number = super().number(key)
        if number == len(self.terms):
            self.terms.append(key)
        return number

    def loop(self, node: Node, inputs: Sequence[int]) -> Sequence[int]:
        """As of every numbering."""
        if not node.op.is_scan:
            return super().loop(node, inputs)
        scan = Scan(node)
        body, length = scan.body, scan.length
        same, now, xs = scan.split(inputs)
        stacks: list[list[int]] = [[0] * length for _ in scan.ys]
        for t in reversed(range(length)) if scan.reverse else range(length):
            of = dict(zip(body.inputs, (*same, *now, *(self.at(x, t, length) for x in xs)), strict=True))
            self.walk(body, of)
            now = [of[v] for v in scan.new_carries]
            for stack, step in zip(stacks, scan.step_ys, strict=True):
                stack[t] = of[step]
        return [*now, *(self.stack(stack, str(v.type)) for stack, v in zip(stacks, scan.ys))]

    def made(self, node: Node, inputs: Sequence[int]) -> Sequence[int]:
        """As of every numbering."""
        moved = None
        if node.op is movement.reshape:
            moved = self._reshaped(inputs[0], node.inputs[0].type.shape, node.output.type.shape)
        elif node.op is movement.slice_:
            moved = self._sliced(node, inputs[0])
        elif node.op is movement.concatenate and node.attrs["axis"] == 0:
            lengths = [v.type.shape[0] for v in node.inputs]
            moved = self._joined(inputs, lengths)
        return super().made(node, inputs) if moved is None else [moved]

    # ---- sequences

    def at(self, sequence: int, place: int, length: int) -> int:
        """Element `place` of a sequence of this length."""
        term = self.terms[sequence]
        match term[0]:
            case "stack":
                return term[2][place]
            case "part":
                _, whole, first, _, of_length = term
                return self.at(whole, first + place, of_length)
            case "split":
                _, whole, steps, of_length = term
                return self.part(whole, place * steps, steps, of_length)
            case _:
                return self.number(("at", sequence, place, length))

    def part(self, sequence: int, first: int, count: int, length: int) -> int:
        """`count` elements of a sequence of this length from `first` on."""
        if count == length:
            return sequence
        term = self.terms[sequence]
        if term[0] == "stack":
            return self.number(("stack", "", term[2][first : first + count]))
        if term[0] == "part":
            return self.part(term[1], term[2] + first, count, term[4])
        return self.number(("part", sequence, first, count, length))

    def stack(self, steps: Sequence[int], kind: str = "") -> int:
        """The sequence of these elements; one without any is of a `kind`."""
        if steps and self.terms[steps[0]][0] == "at":
            _, whole, place, length = self.terms[steps[0]]
            if all(self.terms[step] == ("at", whole, place + i, length) for i, step in enumerate(steps)):
                return self.part(whole, place, len(steps), length)
        return self.number(("stack", "" if steps else kind, tuple(steps)))

    def _reshaped(self, x: int, old: tuple[int, ...], new: tuple[int, ...]) -> int | None:
        if old == new:
            return x
        if old[:1] == (1,) and old[1:] == new:
            return self.at(x, 0, 1)
        if new[:1] == (1,) and new[1:] == old:
            return self.stack([x])
        if old[1:] == new[2:] and old and len(new) > 1 and old[0] == new[0] * new[1] > 0:
            if self.terms[x][0] != "stack":
                return self.number(("split", x, new[1], old[0]))
            return self.stack([self.part(x, i * new[1], new[1], old[0]) for i in range(new[0])])
        if (
            old[2:] == new[1:]
            and new
            and len(old) > 1
            and new[0] == old[0] * old[1] > 0
            and self.terms[x][0] == "stack"
        ):
            pieces = [self.at(x, i, old[0]) for i in range(old[0])]
            if all(self.terms[piece][0] in ("stack", "part") for piece in pieces):
                return self._joined(pieces, [old[1]] * old[0])
        return None

    def _sliced(self, node: Node, x: int) -> int | None:
        old, start, stop = node.inputs[0].type.shape, node.attrs["start"], node.attrs["stop"]
        whole = all(a == 0 and b == n for a, b, n in zip(start[1:], stop[1:], old[1:]))
        if not old or not whole or any(step != 1 for step in node.attrs["step"]) or stop[0] <= start[0]:
            return None
        return self.part(x, start[0], stop[0] - start[0], old[0])

    def _joined(self, sequences: Sequence[int], lengths: Sequence[int]) -> int | None:
        """Sequences of these lengths as one, if they are those of steps."""
        if all(self.terms[x][0] not in ("stack", "part") for x in sequences):
            return None
        return self.stack([self.at(x, i, n) for x, n in zip(sequences, lengths) for i in range(n)])
