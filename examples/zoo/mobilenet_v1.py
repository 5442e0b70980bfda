"""MobileNet v1 for images of 224 x 224, 4.2 million parameters: Howard et al. 2017, "MobileNets: efficient
convolutional neural networks for mobile vision applications", table 1.
"""

from __future__ import annotations

from typing import Any

import gradloom as gl
from gradloom import nn

BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)
"""Channels and stride of each pair of a depthwise and a pointwise convolution."""


def normalized(convolution: nn.Module, channels: int) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(channels), nn.ReLU()]


class MobileNet(nn.Module):
    """Logits of 1000 classes of images (N, 3, 224, 224)."""

    def __init__(self) -> None:
        channels = 32
        blocks = [nn.Sequential(*normalized(nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False), channels))]
        for width, stride in BLOCKS:
            depthwise = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
            pointwise = nn.Conv2d(channels, width, 1, bias=False)
            blocks.append(nn.Sequential(*normalized(depthwise, channels), *normalized(pointwise, width)))
            channels = width
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, 1000)

    def forward(self, images: Any) -> Any:
        return self.classifier(self.features(images).mean(axis=(2, 3)))


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["images"]), batch["labels"])


def recipe() -> tuple[Any, ...]:
    """64 images."""
    rows = 64
    batch = {"images": gl.spec((rows, 3, 224, 224)), "labels": gl.spec((rows,), "int64")}
    return MobileNet(), loss_fn, gl.optim.SGD(0.045, momentum=0.9), batch
