"""U-Net as it was published, 31 million parameters: Ronneberger, Fischer and Brox 2015, "U-Net: convolutional networks
for biomedical image segmentation", figure 1.
"""

from __future__ import annotations

from typing import Any

import gradloom as gl
from gradloom import nn
from gradloom.nn import functional as F

WIDTHS = (64, 128, 256, 512, 1024)
IN, OUT = 572, 388
"""Pixels of an image's side, and of the segmentation's: convolutions are not padded."""


def pair(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU())


class UNet(nn.Module):
    """Logits (N, 2, 388, 388) of two classes for each pixel of the middle of images (N, 1, 572, 572)."""

    def __init__(self) -> None:
        self.down = nn.ModuleList([pair(a, b) for a, b in zip((1, *WIDTHS), WIDTHS)])
        self.pool = nn.MaxPool2d(2)
        steps = list(zip(WIDTHS[::-1], WIDTHS[-2::-1]))
        self.up = nn.ModuleList([nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in steps])
        self.merge = nn.ModuleList([pair(a, b) for a, b in steps])
        self.out = nn.Conv2d(WIDTHS[0], 2, 1)

    def forward(self, images: Any) -> Any:
        kept = []
        x = images
        for i, down in enumerate(self.down):
            x = down(x if i == 0 else self.pool(x))
            kept.append(x)
        for up, merge, skipped in zip(self.up, self.merge, kept[-2::-1]):
            x = up(x)
            edge = (skipped.shape[2] - x.shape[2]) // 2
            middle = slice(edge, edge + x.shape[2])
            x = merge(gl.numpy.concat([skipped[:, :, middle, middle], x], axis=1))
        return self.out(x)


def loss_fn(model: Any, batch: Any) -> Any:
    logits = model(batch["images"])
    return F.cross_entropy(logits.transpose(0, 2, 3, 1).reshape(-1, 2), batch["labels"].reshape(-1))


def recipe() -> tuple[Any, ...]:
    """4 images."""
    rows = 4
    batch = {"images": gl.spec((rows, 1, IN, IN)), "labels": gl.spec((rows, OUT, OUT), "int64")}
    return UNet(), loss_fn, gl.optim.SGD(0.01, momentum=0.99), batch
