"""Collectives: one unit begins messages between ranks, another one waits for them."""

from __future__ import annotations

from ...ir import Node
from ...ir.ops import collectives
from ...passes.memory.plan import Plan
from .data_movement import begin_accumulators
from .launch import RANKS, Call, Launch, Pointer, Traps

_MOST = 2**31 - 1


def lower_collective(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    """The messages of a collective that begins; the wait for those of one that ends."""
    if node.op is collectives.finish:
        wait = [RANKS, node.attrs["tag"], traps.code(node, 0)]
        return [Launch(1, [Call(_FINISH, wait)]), *begin_accumulators(node, plan)]
    if node.op is collectives.rank_index:
        return [Launch(1, [Call(_INDEX, [RANKS, Pointer(node.output)])])]
    return _begin(node, plan, traps)


def _begin(node: Node, plan: Plan, traps: Traps) -> list[Launch]:
    view, result = plan.views[node.inputs[0]], Pointer(node.output)
    sent, type, ranks = Pointer.to(view), node.inputs[0].type, node.attrs["ranks"]
    size = type.dtype.itemsize
    count = type.size if node.op is not collectives.start_exchange else type.size // ranks
    if count > _MOST:
        raise ValueError(f"a message of {count:,} elements is more than MPI sends at a time, {_MOST:,}")
    moves = count * size if node.op is collectives.start_exchange else 0
    distance = node.attrs.get("distance", 0)
    code = traps.code(node, 0)
    args = [RANKS, node.attrs["tag"], code, sent, result, count, size, moves, distance]
    launches = [Launch(1, [Call(_BEGIN, args)])]
    if not distance:
        # A rank's own part needs no message.
        own = Launch(1, [Call(_OWN, [RANKS, sent, result, count * size, moves])], concurrent=True)
        launches.append(own)
    return launches


_BEGIN = """
def kernel(b):
    ranks, distance = word(b, 0), word(b, 8)
    single = -1 if distance == 0 else word(ranks, 0) ^ distance
    if begin_messages(
        ranks, word(b, 1), word(b, 3), word(b, 4), word(b, 5), word(b, 6), word(b, 7), single
    ) != 0:
        return word(b, 2)
    return i64(0)
"""
"""Args: block of the ranks, tag, code at an error, what is sent, what is received, elements, bytes of one, bytes from
what one rank gets to what the next one does; the distance of a single other rank, or 0."""

_OWN = """
def kernel(b):
    rank, n = word(word(b, 0), 0), word(b, 3)
    source = array_u8(word(b, 1) + rank * word(b, 4), 0)
    target = array_u8(word(b, 2) + rank * n, 0)
    for i in range(n):
        target[i] = source[i]
    return i64(0)
"""
"""Args: block of the ranks, what is sent, what is received, bytes of a part, as `moves` of `begin_messages`."""

_FINISH = """
def kernel(b):
    if finish_messages(word(b, 0), word(b, 1)) != 0:
        return word(b, 2)
    return i64(0)
"""
"""Args: block of the ranks, tag, code where the others do not come."""

_INDEX = """
def kernel(b):
    o = array_i64(word(b, 1), 0)
    o[0] = word(word(b, 0), 0)
    return i64(0)
"""
"""Args: block of the ranks, result."""
