"""What went wrong in a launch, in words: which thread of which block, where in the source, and what it should be."""

from __future__ import annotations

import linecache
from collections.abc import Sequence
from typing import Any

from . import state as at
from .thread_code import SharedArray, Site, ThreadCode


class KernelFault(RuntimeError):
    """A GPU kernel did what is not defined on a GPU.

    `kind` is "divergent barrier", "divergent shuffle", "no such lane", "out of bounds", "unwritten" or "race"; `thread`
    of `block` met it, at `line` of `source`. These are None where two launches race.
    """

    def __init__(
        self,
        message: str,
        kind: str,
        block: int | None = None,
        thread: int | None = None,
        line: int | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind, self.block, self.thread, self.line, self.source = kind, block, thread, line, source


_KINDS = {
    at.DIVERGENT_BARRIER: "divergent barrier",
    at.DIVERGENT_SHUFFLE: "divergent shuffle",
    at.NO_LANE: "no such lane",
    at.OUT_OF_BOUNDS: "out of bounds",
    at.OUT_OF_SHARED: "out of bounds",
    at.UNWRITTEN: "unwritten",
    at.RACE: "race",
    at.RACE_IN_GIVEN: "race",
}


def fault_of(name: str, code: ThreadCode, words: Any, lengths: Sequence[int]) -> KernelFault:
    """The fault that the words of a launch note; `lengths` are the bytes of the arrays given to it."""
    kind = int(words[at.FAULT])
    site = code.sites[words[at.FAULT_SITE]]
    block, thread = int(words[at.FAULT_BLOCK]), int(words[at.FAULT_THREAD])
    what = _WHAT[kind](code, words, lengths)
    place = f"kernel {name!r}, line {site.line}, `{_text(site)}`"
    message = f"{_KINDS[kind]} in {place}: thread {thread} of block {block} {what}"
    return KernelFault(message, _KINDS[kind], block, thread, site.line, site.file)


def _text(site: Site) -> str:
    return linecache.getline(site.file, site.line).strip()


def _where(code: ThreadCode, number: int) -> str:
    """What another thread does."""
    if number == -1:
        return "has ended"
    site = code.sites[number]
    return f"is in line {site.line}, `{_text(site)}`"


def _divergent(who: str, advice: str) -> Any:
    def what(code: ThreadCode, words: Any, lengths: Sequence[int]) -> str:
        other = _where(code, words[at.FAULT_OTHER_SITE])
        return f"waits there, and thread {words[at.FAULT_OTHER]} {other}; all threads of a {who}; {advice}"

    return what


def _no_lane(code: ThreadCode, words: Any, lengths: Sequence[int]) -> str:
    mask, threads = int(words[at.FAULT_INDEX]), int(words[at.THREADS])
    if not 0 <= mask < at.WARP:
        return f"has the mask {mask}; a mask is from 0 to {at.WARP - 1}, because a warp has {at.WARP} threads"
    other = int(words[at.FAULT_THREAD]) ^ mask
    return (
        f"asks for the value of thread {other}, and the block has {threads}; blocks of kernels that shuffle are whole "
        f"warps of {at.WARP} threads"
    )


def _does(words: Any) -> str:
    return "writes" if words[at.FAULT_WRITES] else "reads"


def _named(array: SharedArray) -> str:
    return f"shared_{array.kind}({array.elements}) of line {array.site.line}"


def _out_of_bounds(code: ThreadCode, words: Any, lengths: Sequence[int]) -> str:
    number, index = int(words[at.FAULT_ARRAY]), int(words[at.FAULT_INDEX])
    if number == -1:
        return f"{_does(words)} element {index} behind an address that is in none of the {len(lengths)} arrays given"
    return f"{_does(words)} element {index} of array {number} of those given, which has {lengths[number]} bytes"


def _out_of_shared(code: ThreadCode, words: Any, lengths: Sequence[int]) -> str:
    array = code.shared[words[at.FAULT_ARRAY]]
    return f"{_does(words)} element {words[at.FAULT_INDEX]} of {_named(array)}"


def _unwritten(code: ThreadCode, words: Any, lengths: Sequence[int]) -> str:
    array = code.shared[words[at.FAULT_ARRAY]]
    return (
        f"reads element {words[at.FAULT_INDEX]} of {_named(array)}, which no thread of the block has written yet; if "
        "another thread writes it, a barrier is missing between them"
    )


def _race(code: ThreadCode, words: Any, lengths: Sequence[int]) -> str:
    array, other = code.shared[words[at.FAULT_ARRAY]], int(words[at.FAULT_OTHER])
    who = "several threads access" if other == at.MANY else f"thread {other % at.MOST_THREADS} accesses"
    return f"{_touches(words)} of {_named(array)}, and {who} it in {_there(code, words)}, with no barrier between them"


def _race_in_given(code: ThreadCode, words: Any, lengths: Sequence[int]) -> str:
    other = int(words[at.FAULT_OTHER])
    block, thread = divmod(other, at.MOST_THREADS)
    here = other == at.MANY or block == words[at.FAULT_BLOCK]
    several = {at.MANY: "several threads access", at.ELSEWHERE: "threads of several blocks access"}
    who = several.get(other, f"thread {thread} {'' if here else f'of block {block} '}accesses")
    why = "with no barrier between them" if here else "and nothing orders the blocks of a launch"
    return (
        f"{_touches(words)} of array {words[at.FAULT_ARRAY]} of those given, and {who} it in {_there(code, words)}, "
        f"{why}"
    )


def _touches(words: Any) -> str:
    return f"{_does(words)} element {words[at.FAULT_INDEX]}"


def _there(code: ThreadCode, words: Any) -> str:
    site = code.sites[words[at.FAULT_OTHER_SITE]]
    return f"line {site.line}, `{_text(site)}`"


_WHAT = {
    at.DIVERGENT_BARRIER: _divergent(
        "block reach the same barrier", "put it where no condition of a thread, and no early return, leads around it"
    ),
    at.DIVERGENT_SHUFFLE: _divergent(
        "warp reach the same shuffle", "let those with nothing to give take part with a neutral value"
    ),
    at.NO_LANE: _no_lane,
    at.OUT_OF_BOUNDS: _out_of_bounds,
    at.OUT_OF_SHARED: _out_of_shared,
    at.UNWRITTEN: _unwritten,
    at.RACE: _race,
    at.RACE_IN_GIVEN: _race_in_given,
}
