"""Torch itself, imported when it is first needed."""

from __future__ import annotations

from typing import Any

from ..tracing.errors import located


def torch_package() -> Any:
    """The package torch. Raises `ImportError` that says how to install it."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
        import torch.export  # pyright: ignore[reportMissingImports]
        import torch.utils._pytree  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(located("gl.from_torch needs torch: pip install 'gradloom[torch]'")) from error
    return torch
