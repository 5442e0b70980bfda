"""The carries of a loop, a `scan` or a `while_loop`: what an iteration leaves to the next one."""

from __future__ import annotations

from ...ir import Node


def carry_count(loop: Node) -> int:
    """The number of carries; they are the first outputs of a loop."""
    return loop.attrs["carries"] if loop.op.is_scan else len(loop.outputs)


def carried_input(loop: Node, o: int) -> int | None:
    """The place of the input that output `o` begins as, if it is a carry."""
    first: int = loop.attrs["consts"]
    return first + o if o < carry_count(loop) else None


def carried_in_place(consts: int, carries: int) -> dict[int, int]:
    """The aliases of a body that writes its carries over the old ones: for each output the input."""
    return {o: consts + o for o in range(carries)}


def aliases_of_body(loop: Node) -> dict[int, int]:
    """The aliases that the body of a planned loop has."""
    return carried_in_place(loop.attrs["consts"], carry_count(loop))
