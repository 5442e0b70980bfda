"""Loops whose body assigns buffers of a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tracing.scan import scan as plain_scan
from .binding import binding_of
from .module import Module


def scan(
    module: Module,
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """`gl.scan(f, init, xs, ...)`, whose steps go on with what the one before assigned to buffers of `module`.

    So many tokens are generated with caches in one call of a function of `step.bind`:

        def generate(model, token):
            def one(token, _):
                token = model(token).argmax(axis=-1)        # its layers assign their nn.KVCache
                return token, token

            return nn.scan(model, one, token, length=100)[1]

    After the loop the buffers have what the last step assigned.
    """
    binding = binding_of(module)
    if binding is None:
        return plain_scan(f, init, xs, length, reverse, unroll)
    buffers = [buffer for _, buffer in module.stored_buffers()]
    assigned: dict[int, None] = {}

    def step(carry: tuple[Any, list[Any]], x: Any) -> tuple[tuple[Any, list[Any]], Any]:
        value, begin = carry
        around = dict(binding.updates)
        binding.updates.update(zip(buffers, begin))
        try:
            value, y = f(value, x)
            end = [binding.value(buffer) for buffer in buffers]
        finally:
            binding.updates.clear()
            binding.updates.update(around)
        assigned.update((i, None) for i, (a, b) in enumerate(zip(begin, end)) if a is not b)
        return (value, end), y

    start = [binding.value(buffer) for buffer in buffers]
    (value, ends), ys = plain_scan(step, (init, start), xs, length, reverse, unroll)
    binding.updates.update((buffers[i], ends[i]) for i in assigned)
    return value, ys
