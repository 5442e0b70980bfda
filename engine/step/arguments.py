"""What to say of a model, a loss function or an optimizer that a step cannot take: most come from habits of PyTorch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ...ir.near_names import similar
from .. import optim
from ..nn import Module, functional
from ..nn.binding import Binding
from ..tracing.tracer import located

_WRITE_LOSS = (
    "write def loss_fn(model, batch): return gl.nn.cross_entropy(model(batch['x']), batch['y']), with the loss and the "
    "names of your batch"
)

_EACH = 'a step for each: gl.compile_step(model, other_loss, other_optimizer, batch, train="head.*", share=step)'


def no_model(model: Any) -> str:
    """Why `model` is no model."""
    kind = type(model)
    if isinstance(model, type) and issubclass(model, Module):
        return f"model is the class {model.__name__}; write {model.__name__}(...), an instance of it"
    if any(c.__module__.startswith("torch.nn") for c in kind.__mro__):
        return (
            f"model is a gl.nn.Module, got {kind.__name__}, a module of torch; write gl.from_torch(module, "
            "example_input), or gl.from_torch_loss(module, ...) for one that returns its loss"
        )
    if isinstance(model, (list, tuple, dict)) and model:
        parts: Any = model.values() if isinstance(model, dict) else model
        if all(isinstance(part, Module) for part in parts):
            held = "gl.nn.ModuleDict" if isinstance(model, dict) else "gl.nn.ModuleList"
            return f"model is a gl.nn.Module, got a {kind.__name__} of {len(model)}; write {held}(...), which is one"
    return f"model is a gl.nn.Module, got {kind.__name__}; write a class Model(gl.nn.Module) that defines forward"


def no_optimizer(optimizer: Any) -> str:
    """Why `optimizer` is no optimizer."""
    begin = "optimizer is one of gl.optim, such as gl.optim.AdamW(1e-3), got"
    if isinstance(optimizer, type):
        return f"{begin} the class {optimizer.__name__}; write {optimizer.__name__}(1e-3), an instance of it"
    if hasattr(optimizer, "param_groups"):
        kind = type(optimizer).__name__
        rate = optimizer.param_groups[0].get("lr", 1e-3) if optimizer.param_groups else 1e-3
        name = kind if hasattr(optim, kind) else "AdamW"
        return f"{begin} {kind} of torch, which updates tensors of torch; write gl.optim.{name}({rate!r})"
    if isinstance(optimizer, str):
        return f"{begin} the text {optimizer!r}; write gl.optim.{_named(optimizer)}(1e-3)"
    if isinstance(optimizer, (list, tuple, dict)):
        groups = "write gl.optim.groups(...) for parameters with options of their own"
        return f"{begin} a {type(optimizer).__name__}; {groups}, or {_EACH}"
    return f"{begin} {optimizer!r}"


def _named(text: str) -> str:
    return next((name for name in optim.__all__ if name.lower() == text.lower()), "AdamW")


def check_loss(loss_fn: Any) -> None:
    """Raise `TypeError` for what is no function of a model and a batch."""
    if isinstance(loss_fn, Module) or type(loss_fn).__module__.startswith("torch"):
        raise TypeError(
            located(f"loss_fn is {type(loss_fn).__name__}, a module; it is a function of (model, batch): {_WRITE_LOSS}")
        )
    if isinstance(loss_fn, type):
        what = f"loss_fn is the class {loss_fn.__name__}; it is a function of (model, batch)"
        raise TypeError(located(f"{what}: {_WRITE_LOSS}"))
    if isinstance(loss_fn, (list, tuple, dict)):
        what = f"loss_fn is one function of (model, batch), got a {type(loss_fn).__name__}"
        raise TypeError(located(f"{what}; write their sum, or {_EACH}"))
    if not callable(loss_fn):
        kind = type(loss_fn).__name__
        raise TypeError(located(f"loss_fn is a function of (model, batch), got {kind}; {_WRITE_LOSS}"))
    if (getattr(loss_fn, "__module__", None) or "").startswith(functional.__name__):
        raise TypeError(
            located(
                f"loss_fn is gl.nn.{loss_fn.__name__}, a function of what a model returns and a target; it is called "
                f"with (model, batch): {_WRITE_LOSS}"
            )
        )
    try:
        signature = inspect.signature(loss_fn)
    except (TypeError, ValueError):
        return  # of a function in C nothing is known
    try:
        signature.bind(None, None)
    except TypeError:
        raise TypeError(
            located(f"loss_fn is {_shown(loss_fn)}, and it is called with two arguments, (model, batch): {_WRITE_LOSS}")
        ) from None


def no_loss(loss_fn: Any, what: str, loss: Any) -> str:
    """Why what a loss function returned is no loss, which `what` says."""
    if loss is None:
        advice = "a `return` may be missing"
    elif isinstance(loss, dict):
        advice = "return loss, metrics: the loss by itself, and a dict of all else"
    elif isinstance(loss, Module):
        advice = "call the module, and return what it gives"
    else:
        advice = "a loss has a gradient: return a mean or a sum of floats, such as gl.nn.cross_entropy(...)"
    return f"loss_fn must return a float scalar, {what}; {advice}; it is {_shown(loss_fn)}"


def _shown(loss_fn: Callable[..., Any]) -> str:
    """A function with its arguments and where it stands."""
    try:
        code = getattr(inspect.unwrap(loss_fn), "__code__", None)
        signature = str(inspect.signature(loss_fn))
    except (TypeError, ValueError):
        code, signature = None, "(...)"
    name = getattr(loss_fn, "__name__", type(loss_fn).__name__)
    return f"{name}{signature}" + (f" of {code.co_filename}:{code.co_firstlineno}" if code is not None else "")


def call_loss(loss_fn: Callable[[Any, Any], Any], model: Module, batch: Any, binding: Binding) -> Any:
    """What `loss_fn(model, batch)` returns. Raises `TypeError` where it takes the model for what the model returns, as
    a loss of (output, target) does, or for the batch.
    """
    try:
        return loss_fn(model, batch)
    except Exception as error:
        if isinstance(error, LookupError):
            note_names(error, batch, "the batch")
        taken = None if binding.was_entered else _taken_for(loss_fn)
        if taken is None:
            raise
        raise TypeError(
            located(
                f"loss_fn is {_shown(loss_fn)}; it is called with (model, batch), {taken}, and failed before it called "
                f"the model ({type(error).__name__}: {error}): {_WRITE_LOSS}"
            )
        ) from error


def note_names(error: LookupError, batch: Any, what: str) -> None:
    """Note with the error of a name, or a place, that a batch, called `what`, does not have which it has."""
    name = error.args[0] if error.args else None
    if isinstance(batch, (tuple, list)) and name == f"{type(batch).__name__} index out of range":
        parts = ", ".join(f"{x.dtype} of {x.shape}" if hasattr(x, "dtype") else type(x).__name__ for x in batch)
        error.add_note(f"{what} is a {type(batch).__name__} of length {len(batch)}: {parts or 'empty'}")
    if isinstance(batch, Mapping) and isinstance(name, str) and name not in batch:
        known = [str(key) for key in batch]
        near = similar(name, known)
        error.add_note(f"{what} has {', '.join(known)}" + (f"; {near}" if near else ""))


def _taken_for(loss_fn: Callable[..., Any]) -> str | None:
    """What a loss function takes its arguments for, by their names, if not for a model and a batch."""
    first, second = [name.lower() for name in [*inspect.signature(loss_fn).parameters, "", ""]][:2]
    if any(part in second for part in ("model", "net", "module")):
        return "in this order"
    outputs = ("out", "pred", "logit", "score", "y_hat", "yhat", "input", "prob", "y")
    return "not with what the model returned" if any(part in first for part in outputs) else None
