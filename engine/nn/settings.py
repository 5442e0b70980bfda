"""What of a model is fixed when a step is compiled, so that a later change of it can be told."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .module import Module
    from .parameter import Stored

_PACKAGE = __name__.partition(".")[0]
_PLAIN = (bool, int, float, str, tuple, type(None))


class _Changes:
    """Counts the changes of settings of any model, so that a step need not look at its own before something changed."""

    count = 0


def settings_changed() -> None:
    """Note that a mode, a `requires_grad`, a registered name or an attribute of a layer was set."""
    _Changes.count += 1


def changes() -> int:
    """How many settings were set so far."""
    return _Changes.count


_steps: weakref.WeakKeyDictionary[Stored, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()


def compiled_by(model: Module, step: Any) -> None:
    """Note that a step has arrays of its own for what a model stores."""
    for _, stored in model.all_stored():
        _steps.setdefault(stored, weakref.WeakSet()).add(step)


def has_a_step(stored: Stored) -> bool:
    """Whether there is a step that has an array of its own for this."""
    return len(_steps.get(stored, ())) > 0


def is_own(module: Module) -> bool:
    """Whether a module is one of the package's layers, whose attributes are hyper-parameters."""
    return type(module).__module__.partition(".")[0] == _PACKAGE


def model_settings(model: Module) -> dict[str, Any]:
    """By name what a step fixes: modes, `requires_grad`, which parameters and modules there are, and the attributes of
    the package's own layers.
    """
    result: dict[str, Any] = {}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        result[f"{prefix}training"] = module.__dict__["_training"]
        if is_own(module):
            plain = ((name, value) for name, value in vars(module).items() if not name.startswith("_"))
            result |= {prefix + name: value for name, value in plain if isinstance(value, _PLAIN)}
    for name, parameter in model.stored_parameters():
        result[f"{name}.requires_grad"] = parameter.requires_grad
    return result


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What became of settings, in words; empty if they are the same."""
    parts: list[str] = []
    for name in [*before, *(name for name in now if name not in before)]:
        if name not in now:
            parts.append(f"{name} is gone")
        elif name not in before:
            parts.append(f"{name} is new")
        elif type(before[name]) is not type(now[name]) or before[name] != now[name]:
            parts.append(f"{name} was {before[name]!r} and is {now[name]!r}")
    return ", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")
