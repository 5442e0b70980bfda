"""Kernels of products with those register tiles alone that the calls of a program meet.

A register tile takes much of the time in which a kernel is compiled. So products whose kernels differ in tiles alone
share one, in which each tile that some of them meet stands once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ...passes.kernels.register_tiles import RegisterTile
from .launch import Launch, TilesMet

_FEW = 2
"""A kernel keeps so many tiles, met or not: then programs for other numbers of rows find it compiled."""


def leave_out_tiles(launches: Iterable[Launch]) -> None:
    """Give products that may share a kernel one with the register tiles that their calls meet, and no others."""
    launches = list(launches)
    sharing: dict[str, list[TilesMet]] = {}
    for call in (call for launch in launches for call in launch.calls):
        if call.met is not None:
            sharing.setdefault(call.met.bare, []).append(call.met)
    sources = {bare: calls[0].source_with(_wanted(calls)) for bare, calls in sharing.items()}
    for launch in launches:
        for i, call in enumerate(launch.calls):
            if call.met is not None:
                launch.calls[i] = replace(call, source=sources[call.met.bare], met=None)


def _wanted(calls: Sequence[TilesMet]) -> frozenset[RegisterTile]:
    every = frozenset(tile for call in calls for tile in call.of)
    return every if len(every) <= _FEW else frozenset(tile for call in calls for tile in call.tiles)
