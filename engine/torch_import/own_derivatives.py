"""`torch.autograd.Function` in an export: its forward is taken in, where its backward is the derivative of that."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from ..tracing.errors import UnsupportedError, located


class _Context:
    """What a forward is given, of which nothing is kept."""

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        pass

    def set_materialize_grads(self, value: bool) -> None:
        pass


@contextlib.contextmanager
def without_own_derivatives(torch: Any) -> Iterator[None]:
    """Inside the block a `torch.autograd.Function` is its forward, for an export keeps nothing else of it. Raises
    `UnsupportedError` for one whose backward is not the derivative of its forward, for random arguments.
    """
    base = torch.autograd.Function
    apply = vars(base)["apply"]

    def inlined(kind: Any, *args: Any, **kwargs: Any) -> Any:
        # Torch's own are of ops that are in the table, or missing there, and of branches and loops.
        if kind.__name__.startswith("GeneratedBackwardFor") or kind.__module__.startswith("torch._higher_order_ops"):
            return apply.__get__(None, kind)(*args, **kwargs)
        if kwargs or not _is_plain(torch, kind, apply, args):
            what = f"{kind.__name__} is a torch.autograd.Function whose backward is not the derivative of its forward"
            instead = "write it with ops of torch, x + (f(x) - x).detach() for a straight-through estimate"
            raise UnsupportedError(located(f"{what}, and an export keeps that alone; {instead}"))
        return _forward(torch, kind, args)

    base.apply = classmethod(inlined)
    try:
        yield
    finally:
        base.apply = apply


def _forward(torch: Any, kind: Any, args: Sequence[Any]) -> Any:
    """The forward by itself, which has a context where nothing else sets one up."""
    sets_up = kind.setup_context is not torch.autograd.Function.setup_context
    return kind.forward(*args) if sets_up else kind.forward(_Context(), *args)


def _is_plain(torch: Any, kind: Any, apply: Any, args: Sequence[Any]) -> bool:
    """Whether the backward gives the derivative of the forward, for random tensors of the shapes of the arguments."""
    shapes = [_shape(x) if isinstance(x, torch.Tensor) else None for x in args]
    dtypes = [getattr(x, "dtype", None) for x in args]
    found: list[bool] = []

    def compare() -> None:
        drawn: list[Any] = [_drawn(torch, s, d) if s is not None else x for s, d, x in zip(shapes, dtypes, args)]
        floats: list[Any] = [x for x in drawn if getattr(x, "requires_grad", False)]
        own = apply.__get__(None, kind)(*drawn)
        plain = _forward(torch, kind, drawn)
        pairs = zip(_gradients(torch, own, floats), _gradients(torch, plain, floats))
        found.append(all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in pairs))

    def quietly() -> None:
        with contextlib.suppress(Exception):  # what cannot be compared is not known to be plain
            compare()

    # The modes of an export are of its thread: another one computes with tensors of numbers.
    thread = threading.Thread(target=quietly)
    thread.start()
    thread.join()
    return found == [True]


def _shape(x: Any) -> list[int]:
    return [n if isinstance(n, int) else int(n.node.hint) for n in x.shape]


def _drawn(torch: Any, shape: Sequence[int], dtype: Any) -> Any:
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, dtype=dtype, generator=generator).requires_grad_()


def _gradients(torch: Any, result: Any, floats: Sequence[Any]) -> list[Any]:
    parts = result if isinstance(result, tuple) else (result,)
    total: Any = sum((part * part + part).sum() for part in parts if part.is_floating_point())
    found = torch.autograd.grad(total, list(floats), allow_unused=True) if total.requires_grad else [None] * len(floats)
    return [torch.zeros_like(x) if gradient is None else gradient for x, gradient in zip(floats, found)]
