"""Kernels of products with those register tiles alone that the calls of a program meet.

A register tile takes much of the time in which a kernel is compiled. Products that may share a kernel, whose sources
with all their tiles are the same, share it as before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ...passes.kernels.register_tiles import RegisterTile
from .launch import Launch


def leave_out_tiles(launches: Iterable[Launch]) -> None:
    """Leave out of each kernel the register tiles that none of its calls meets."""
    launches = list(launches)
    met: dict[str, frozenset[RegisterTile]] = {}
    for call in (call for launch in launches for call in launch.calls):
        if call.met is not None:
            met[call.source] = met.get(call.source, frozenset()) | call.met.tiles
    sources: dict[str, str] = {}
    for launch in launches:
        for i, call in enumerate(launch.calls):
            if call.met is None:
                continue
            if call.source not in sources:
                sources[call.source] = call.met.source_with(met[call.source])
            launch.calls[i] = replace(call, source=sources[call.source], met=None)
