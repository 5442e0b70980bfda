"""The loss that a module of torch returns by itself, as a loss function of a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..tracing.errors import TracingError, located


class TorchLoss:
    """`loss_fn(model, batch)` of a module that returns its loss; a batch is a dict of keyword arguments.

    The loss is the field or the entry `loss` of what the module returns, the first of a tuple, or what it returns.
    """

    def __init__(self, module: Any, kept: Mapping[str, Any]) -> None:
        self.module = module
        """The module of torch."""
        self._kept = dict(kept)
        self.__name__ = f"the loss of {type(module).__name__}"

    def __call__(self, model: Any, batch: Any) -> Any:
        return _loss_of(model(**batch))

    def of_module(self, batch: Any) -> Any:
        """The same by torch, for a batch of tensors."""
        return _loss_of(self.module(**{**self._kept, **batch}))


def _loss_of(result: Any) -> Any:
    """The loss among what a module returned. Raises `TracingError` where there is none."""
    fields = getattr(result, "_fields", ())
    if "loss" in fields or (isinstance(result, dict) and "loss" in result):
        return result["loss"]
    if isinstance(result, (tuple, list)) and len(result) and not fields:
        result = result[0]
    if not isinstance(result, dict) and getattr(result, "shape", None) == ():
        return result
    what = ", ".join(fields) if fields else ", ".join(result) if isinstance(result, dict) else type(result).__name__
    instead = "give labels=..., or write gl.from_torch(module, ...) and a loss function of your own"
    raise TracingError(located(f"the module returns no loss, but {what}; {instead}"))
