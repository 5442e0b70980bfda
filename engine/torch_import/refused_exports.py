"""Why torch did not export a module: its own words, the module's line, and what to write instead."""

from __future__ import annotations

import re
import traceback
from typing import Any

from ...ir.users_line import shown_file

_DATA_DEPENDENT = ("GuardOnDataDependentSymNode", "DataDependentOutputException", "PendingUnbackedSymbolNotFound")
_STATIC = "shapes and branches that depend on values are not possible in a static program"
_PACKED = (
    "packed sequences have shapes that depend on values; give the layer padded sequences, and mask what it returns"
)


def why_refused(module: Any, error: Exception) -> str:
    """The message for an error of `torch.export`."""
    text, kind = str(error).strip(), type(error).__name__
    first = next((line.strip() for line in text.splitlines() if line.strip()), kind)
    what = f"{type(module).__name__} cannot be exported by torch.export: {kind}: {first[:400]}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{what}{_place(frames, text)}; {_instead(text, kind, frames)}"


def _place(frames: Any, text: str) -> str:
    """The module's own line, or where torch says that it is."""
    begun = next((i for i, frame in enumerate(frames) if frame.name == "_call_impl"), len(frames))
    own = [(shown_file(frame.filename), frame.lineno) for frame in frames[begun:]]
    lines = [f"{file}:{line}" for file, line in own if file] or re.findall(r"\((\S+\.py:\d+) in \w+\)", text)
    return f" (at {lines[-1]})" if lines else ""


def _instead(text: str, kind: str, frames: Any) -> str:
    if "FakeTensor" in text and any(re.search(r"nn.(modules|utils).rnn\.py$", frame.filename) for frame in frames):
        return _PACKED
    if kind in _DATA_DEPENDENT or "data-dependent" in text:
        return f"{_STATIC}: write torch.where, a mask, torch.cond, or torch.topk with a fixed number"
    if kind == "DynamicOutputShapeException":
        return f"{_STATIC}: its result has such a shape; write a mask, or torch.topk with a fixed number"
    if "register a pytree" in text:
        return "write torch.export.register_dataclass(the class) before, or return a dict or a tuple"
    if kind == "TypeError" and all(frame.name != "_call_impl" for frame in frames):
        return "give from_torch the arguments of module.forward"
    return "check that module(*args, **kwargs) runs by itself, then see torch.export's reason above"
