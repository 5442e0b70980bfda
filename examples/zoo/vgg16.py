"""VGG-16 for images of 224 x 224, 138 million parameters: Simonyan and Zisserman 2015, "Very deep convolutional
networks for large-scale image recognition".
"""

from __future__ import annotations

from typing import Any

import gradloom as gl
from gradloom import nn

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels, and how many convolutions keep them."""


class VGG16(nn.Module):
    """Logits of 1000 classes of images (N, 3, 224, 224)."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for width, repeats in STAGES:
            for _ in range(repeats):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 1000),
        )

    def forward(self, images: Any) -> Any:
        x = self.features(images)
        return self.classifier(x.reshape(x.shape[0], -1))


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["images"]), batch["labels"])


def recipe() -> tuple[Any, ...]:
    """64 images."""
    rows = 64
    batch = {"images": gl.spec((rows, 3, 224, 224)), "labels": gl.spec((rows,), "int64")}
    return VGG16(), loss_fn, gl.optim.SGD(0.01, momentum=0.9, weight_decay=5e-4), batch
