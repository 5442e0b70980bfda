"""Messages between ranks on a GPU, which begin beside the launches that follow, and waits for them: data alone.

On a GPU NCCL sends them (`cuda/messages.py`), in the emulator MPI (`emulate/messages.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...ir import Node
from ...ir.ops import collectives
from ...passes.memory.plan import Plan
from .gpu_copies import begin_accumulators
from .launch import RANK_NUMBER, Call, Launch, Pointer
from .translated import on_one_thread


@dataclass(frozen=True, slots=True)
class MessageCall:
    """Messages that begin, of so many bytes from rank to rank. The `MessageWait` of their tag waits for them; until
    then nothing writes what is sent, or looks at what is received.

    Of a "gather" each rank gets the same bytes, of an "exchange" rank r gets those of row r, of a "swap" there is one
    other rank, whose number differs by the bit `distance`. What comes from rank r is row r of what is received, of a
    "swap" all of it.
    """

    kind: Literal["gather", "exchange", "swap"]
    tag: int
    sent: Pointer
    received: Pointer
    nbytes: int
    distance: int = 0
    concurrent: bool = False


@dataclass(frozen=True, slots=True)
class MessageWait:
    """What follows waits for the messages of a tag."""

    tag: int
    concurrent: bool = False


def lower_gpu_collective(node: Node, plan: Plan) -> list[Launch | MessageCall | MessageWait]:
    """The messages of a collective that begins; the wait for those of one that ends."""
    if node.op is collectives.rank_index:
        return [on_one_thread(Launch(1, [Call(_INDEX, [RANK_NUMBER, Pointer(node.output)])]))]
    if node.op is collectives.finish:
        return [MessageWait(node.attrs["tag"]), *begin_accumulators(node, plan)]
    return [_begun(node, plan)]


def _begun(node: Node, plan: Plan) -> MessageCall:
    result = Pointer(node.output)
    # A call does not look at the word of traps, see `Runs`: an input is overwritten by a kernel, from what came.
    assert plan.locations[node.output].place != "input", "messages do not come to where an input is"
    sent, nbytes, tag = Pointer.to(plan.views[node.inputs[0]]), node.inputs[0].type.nbytes, node.attrs["tag"]
    if node.op is collectives.start_exchange:
        return MessageCall("exchange", tag, sent, result, nbytes // node.attrs["ranks"])
    if node.op is collectives.start_gather:
        return MessageCall("gather", tag, sent, result, nbytes)
    assert node.op is collectives.start_swap, f"{node.op.name} is lowered by a pass"
    distance: int = node.attrs["distance"]
    return MessageCall("swap", tag, sent, result, nbytes, distance)


_INDEX = """
def kernel(b):
    o = array_i64(word(b, 1), 0)
    o[0] = word(b, 0)
    return i64(0)
"""
"""Args: the number of the rank, result."""
