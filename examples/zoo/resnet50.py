"""ResNet-50 for images of 224 x 224, 25.6 million parameters: He et al. 2016, "Deep residual learning for image
recognition"; the stride is that of the 3 x 3 convolution, as torchvision has it.
"""

from __future__ import annotations

from typing import Any

import gradloom as gl
from gradloom import nn
from gradloom.nn import functional as F

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Width, blocks, stride of the first."""

EXPANSION = 4


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 convolutions and what went in."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        out = EXPANSION * width
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Any) -> Any:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """Logits of 1000 classes of images (N, 3, 224, 224)."""

    def __init__(self) -> None:
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        stages: list[nn.Module] = []
        for width, blocks, stride in STAGES:
            stage: list[nn.Module] = []
            for i in range(blocks):
                stage.append(Bottleneck(channels, width, stride if i == 0 else 1))
                channels = EXPANSION * width
            stages.append(nn.Sequential(*stage))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(channels, 1000)

    def forward(self, images: Any) -> Any:
        x = self.maxpool(F.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(axis=(2, 3)))


def loss_fn(model: Any, batch: Any) -> Any:
    return nn.cross_entropy(model(batch["images"]), batch["labels"])


def recipe() -> tuple[Any, ...]:
    """64 images."""
    rows = 64
    batch = {"images": gl.spec((rows, 3, 224, 224)), "labels": gl.spec((rows,), "int64")}
    return ResNet50(), loss_fn, gl.optim.SGD(0.1, momentum=0.9, weight_decay=1e-4), batch


def recipe_torch() -> tuple[Any, ...]:
    """The same in PyTorch, for `gradloom bench`."""
    import torch
    import torch_models

    model, loss = torch_models.built("resnet50")
    return model, loss, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4, fused=True)
