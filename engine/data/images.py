"""Images in folders, a class a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..tracing.errors import located
from ..tracing.keywords import tells_keywords
from .array_files import DataError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")


class ImageFolder:
    """A dataset of the images under `root`, whose folders are the classes: `root/cat/1.png`. Known from torchvision.

    Example i is `{"x": (channels, height, width) float32 in 0..1, "y": its class, int64}`. `size`, (height, width) or
    one number, resizes (batches need one size); `mode` is Pillow's, "RGB" or "L". `classes` names the classes in their
    order. An image is read when its example is asked for. Raises `ImportError` without Pillow, `DataError` where there
    are no images, and for a damaged one.
    """

    @tells_keywords
    def __init__(self, root: str | os.PathLike[str], size: int | tuple[int, int] | None = None, mode: str = "RGB"):
        _pillow()
        folder = Path(root)
        if not folder.is_dir():
            raise DataError(located(f"{folder}: there is no such folder"))
        if mode not in ("RGB", "L", "RGBA"):
            raise ValueError(located(f"mode is 'RGB', 'L' or 'RGBA', got {mode!r}"))
        self.mode = mode
        self.size = (size, size) if isinstance(size, int) else size
        self.classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        self.samples = [
            (path, label)
            for label, name in enumerate(self.classes)
            for path in sorted((folder / name).rglob("*"))
            if path.suffix.lower() in _SUFFIXES and path.is_file()
        ]
        if not self.samples:
            raise DataError(located(f"{folder} has no images in folders, as {folder}/CLASS/NAME.png"))

    def __repr__(self) -> str:
        return f"<ImageFolder: {len(self)} images of {len(self.classes)} classes>"

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> dict[str, Any]:
        path, label = self.samples[i]
        image_module = _pillow()
        try:
            with image_module.open(path) as image:
                image = image.convert(self.mode)
                if self.size is not None:
                    image = image.resize(self.size[::-1], image_module.Resampling.BILINEAR)
                pixels = np.asarray(image, np.float32) / np.float32(255)
        except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
            raise DataError(located(f"{path} is damaged, or no image: {error}")) from error
        channels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        return {"x": np.ascontiguousarray(channels), "y": np.int64(label)}


def _pillow() -> Any:
    try:
        from PIL import Image  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(located("images are read by Pillow, which is not installed; pip install pillow")) from None
    return Image
