"""What `gradloom.numpy` says of itself, as the Array API standard asks: devices, dtypes, and what it can do."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import DTYPES, DType
from ..tracing.tracer import located

__all__ = ["ARRAY_API_VERSION", "NamespaceInfo", "check_device"]

ARRAY_API_VERSION = "2024.12"
"""The version of the standard that names and arguments follow."""


def check_device(device: Any) -> None:
    """Raises `ValueError` unless `device` is `None` or the "cpu" that every traced array names."""
    if device is not None and device != "cpu":
        raise ValueError(
            located(f"device={device!r}: arrays are made for 'cpu'; gl.compile(fn, target=...) says where programs run")
        )


class NamespaceInfo:
    """The answer of `gradloom.numpy.__array_namespace_info__()`."""

    def capabilities(self) -> dict[str, Any]:
        """What the standard leaves open. No shape depends on values: `x[mask]` and `nonzero` are not there."""
        return {"boolean indexing": False, "data-dependent shapes": False, "max dimensions": 64}

    def default_device(self) -> str:
        """The device that every traced array names; a program runs where it was compiled for."""
        return "cpu"

    def devices(self) -> list[str]:
        """The devices that arrays can be made for."""
        return ["cpu"]

    def default_dtypes(self, *, device: str | None = None) -> dict[str, DType]:
        """The dtype of what is made without one, by kind. Raises `ValueError` for another device than "cpu"."""
        check_device(device)
        named = {"real floating": "float64", "complex floating": "complex128", "integral": "int64", "indexing": "int64"}
        return {kind: np.dtype(name) for kind, name in named.items() if np.dtype(name) in DTYPES}

    def dtypes(self, *, device: str | None = None, kind: str | tuple[str, ...] | None = None) -> dict[str, DType]:
        """The standard's dtypes that exist here, by name; those of one `kind`, or of any in a tuple.

        Raises `ValueError` for a kind that the standard does not know, and for another device than "cpu".
        """
        check_device(device)
        kinds = ("bool", "numeric") if kind is None else kind
        standard = [dtype for dtype in DTYPES if dtype.isbuiltin == 1]  # which bfloat16 is not
        return {dtype.name: dtype for dtype in standard if np.isdtype(dtype, kinds)}
