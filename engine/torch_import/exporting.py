"""`torch.export` of a module for arguments of given shapes, in training or in evaluation."""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..tracing.errors import TracingError, located
from .own_derivatives import without_own_derivatives
from .table import whole_ops
from .torch_package import torch_package


@contextlib.contextmanager
def in_mode(module: Any, training: bool) -> Iterator[None]:
    """The module as `train(training)` makes it; behind the block all its parts have the modes that they had."""
    before = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, mode in before:
            part.training = mode


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch and the module have to say about being exported."""
    loggers = [
        logging.getLogger(name)
        for name in ("torch.export", "torch._export", "torch.fx", "torch._dynamo", "torch._subclasses")
    ]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)


def exported(module: Any, args: Sequence[Any], kwargs: Mapping[str, Any], training: bool, any_batch: bool) -> Any:
    """The `ExportedProgram` of a module, of core ATen ops and those of the table that are whole.

    With `any_batch` the first axis of every tensor may have any length that the module does not fix. Raises
    `TracingError` with torch's reason where the module cannot be exported.
    """
    torch = torch_package()
    shapes = _any_batch(torch, module, args, kwargs) if any_batch else None
    with _quiet(), in_mode(module, training), without_own_derivatives(torch):
        try:
            program = torch.export.export(module, tuple(args), dict(kwargs), dynamic_shapes=shapes, strict=False)
            _keep_no_grad(torch, program.graph_module)
            return program.run_decompositions(_decompositions(torch))
        except TracingError:
            raise
        except Exception as error:
            raise TracingError(located(_reason(module, error))) from error


def _any_batch(torch: Any, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """That the first axis of every tensor may have any length, in the structure of the arguments."""

    def of_leaf(x: Any) -> Any:
        return {0: torch.export.Dim.AUTO} if isinstance(x, torch.Tensor) and x.ndim else None

    positional, named = torch.utils._pytree.tree_map(of_leaf, (tuple(args), dict(kwargs)))
    return {**dict(zip(inspect.signature(module.forward).parameters, positional)), **named} if named else positional


def _keep_no_grad(torch: Any, module: Any) -> None:
    """Detach what comes out of `torch.no_grad()`, which decompositions forget."""
    for part in module.children():
        if hasattr(part, "graph"):
            _keep_no_grad(torch, part)
    for node in list(module.graph.nodes):
        if str(node.target) != "wrap_with_set_grad_enabled" or node.args[0]:
            continue
        for item in list(node.users):
            value = item.meta.get("val")
            if not isinstance(value, torch.Tensor) or not value.is_floating_point():
                continue
            with module.graph.inserting_after(item):
                detached = module.graph.call_function(torch.ops.aten.detach.default, (item,))
            detached.meta = dict(item.meta)
            item.replace_all_uses_with(detached, delete_user_cb=lambda user, kept=detached: user is not kept)
    module.recompile()


def _decompositions(torch: Any) -> Any:
    """What torch's ops decompose into: its default, but for the ops that are whole."""
    table = torch.export.default_decompositions()
    for name in whole_ops():
        packet, overload = name.split(".")
        found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
        if found is not None:
            table.pop(found, None)
    return table


_DATA_DEPENDENT = ("GuardOnDataDependentSymNode", "UserError", "DataDependentOutputException")


def _reason(module: Any, error: Exception) -> str:
    """Why a module was not exported, in torch's words, and what to change."""
    text = str(error).strip()
    kind = type(error).__name__
    first = next((line.strip() for line in text.splitlines() if line.strip()), kind)
    what = f"{type(module).__name__} cannot be exported by torch.export: {kind}: {first[:400]}"
    place = re.findall(r"\((\S+\.py:\d+) in \w+\)", text)
    where = f" (at {place[-1]})" if place else ""
    if kind in _DATA_DEPENDENT or "data-dependent" in text:
        instead = "shapes and branches that depend on values are not possible in a static program: write torch.where, "
        instead += "a mask, or torch.topk with a fixed number"
    elif isinstance(error, TypeError) and "argument" in text:
        instead = "give from_torch the arguments of module.forward"
    else:
        instead = "check that module(*args, **kwargs) runs by itself, then see torch.export's reason above"
    return f"{what}{where}; {instead}"
