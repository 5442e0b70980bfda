"""Residual networks of a few blocks: He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition"."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from ...engine import nn


class ResidualBlock(nn.Module):
    """relu(norm(conv(relu(norm(conv(x))))) + x), two 3x3 convolutions; x by a 1x1 one where its shape changes."""

    def __init__(self, channels: int, out_channels: int, stride: int = 1) -> None:
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        changes = channels != out_channels or stride != 1
        self.shortcut = nn.Conv2d(channels, out_channels, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, x: Any) -> Any:
        inner = nn.relu(self.norm1(self.conv1(x)))
        return nn.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


def residual_network(channels: int, *widths: int, classes: int = 10) -> nn.Sequential:
    """Images (n, channels, h, w) to logits (n, classes): a 3x3 convolution and a block of `widths[0]` channels,
    then one block of each further width, which halves the image; the mean over the image, and a linear layer.
    """
    first = widths[0]
    layers = [nn.Conv2d(channels, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU()]
    layers.append(ResidualBlock(first, first))
    layers += [ResidualBlock(narrow, wide, 2) for narrow, wide in pairwise(widths)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))
