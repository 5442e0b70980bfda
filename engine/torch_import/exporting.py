"""`torch.export` of a module for arguments of given shapes, in training or in evaluation."""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..tracing.errors import TracingError, located
from .own_derivatives import without_own_derivatives
from .refused_exports import why_refused
from .stand_ins import with_stand_ins
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
    with _quiet(), in_mode(module, training), without_own_derivatives(torch), with_stand_ins(torch):
        try:
            shapes = _any_batch(torch, module, args, kwargs) if any_batch else None
            program = torch.export.export(module, tuple(args), dict(kwargs), dynamic_shapes=shapes, strict=False)
            _keep_no_grad(torch, program.graph_module)
            return program.run_decompositions(_decompositions(torch))
        except TracingError:
            raise
        except Exception as error:
            raise TracingError(located(why_refused(module, error))) from error


def _any_batch(torch: Any, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """That the first axis of every tensor may have any length, in the structure of the arguments."""

    def of_leaf(x: Any) -> Any:
        return {0: torch.export.Dim.AUTO} if isinstance(x, torch.Tensor) and x.ndim else None

    positional, named = torch.utils._pytree.tree_map(of_leaf, (tuple(args), dict(kwargs)))
    return dict(inspect.signature(module.forward).bind(*positional, **named).arguments)


def _keep_no_grad(torch: Any, module: Any) -> None:
    """Detach what comes out of `torch.no_grad()`, and what is written to tensors there, which decompositions forget."""
    for part in module.children():
        if hasattr(part, "graph"):
            _keep_no_grad(torch, part)
    for node in list(module.graph.nodes):
        if str(node.target) != "wrap_with_set_grad_enabled" or node.args[0]:
            continue
        for item in list(node.users):
            _detach(torch, module, item)
        part = getattr(module, node.args[1].target)
        changed = _changed(part.graph)
        for given in [x for x in part.graph.nodes if x.op == "placeholder" and x not in changed]:
            _detach(torch, part, given)
        part.recompile()
    module.recompile()


def _detach(torch: Any, module: Any, node: Any) -> None:
    """Let all that read a node of floats read it without its derivative."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return
    with module.graph.inserting_after(node):
        detached = module.graph.call_function(torch.ops.aten.detach.default, (node,))
    detached.meta = dict(node.meta)
    node.replace_all_uses_with(detached, delete_user_cb=lambda user: user is not detached)


def _changed(graph: Any) -> set[Any]:
    """The placeholders that ops of a graph write to, or to views of which."""
    found: set[Any] = set()
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        for argument, value in zip(schema.arguments if schema else (), node.args):
            while argument.is_write and getattr(value, "op", "") == "call_function":
                value = value.args[0]
            if argument.is_write:
                found.add(value)
    return found


def _decompositions(torch: Any) -> Any:
    """What torch's ops decompose into: its default, but for the ops that are whole."""
    table = torch.export.default_decompositions()
    for name in whole_ops():
        packet, overload = name.split(".")
        found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
        if found is not None:
            table.pop(found, None)
    return table
