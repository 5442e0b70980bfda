"""The libraries that a GPU's products and convolutions run by, as far as they are installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from ..lowering.launch import Address
from ..lowering.library_call import ConvolutionCall, LibraryCall, ProductCall
from . import convolutions, products

_MODULES: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "cublaslt": (products.MODULE, products.Products),
    "cudnn": (convolutions.MODULE, convolutions.Convolutions),
}
"""By the names of `Target.libraries`, the module of bindings, and what runs calls through it."""


class Libraries:
    """What runs the calls of each library, by its name."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found

    @property
    def names(self) -> tuple[str, ...]:
        """Those that there are."""
        return tuple(self._found)

    def supports(self, call: LibraryCall) -> bool:
        """Whether its library can do a call. Where it cannot, a kernel of our own does."""
        return self._found[call.library].supports(call)

    def prepare(self, item: Any, address: Callable[[Address], int]) -> None:
        """Choose the algorithm, before a stream is captured, where something that runs is a call; kernels need none."""
        if isinstance(item, (ProductCall, ConvolutionCall)):
            self._found[item.library].prepare(item, address)

    def run(self, call: LibraryCall, address: Callable[[Address], int], stream: Any) -> None:
        """Put a prepared call on a stream."""
        self._found[call.library].run(call, address, int(stream))


def installed_libraries() -> Libraries:
    """Those whose packages are installed and work, on the current device."""
    found: dict[str, Any] = {}
    for name, (module, make) in _MODULES.items():
        try:
            found[name] = make(importlib.import_module(module))
        except (ImportError, OSError, RuntimeError):  # no package, or no library for it
            continue
    return Libraries(found)
