"""Convolutional networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..frameworks import Framework


def _block(f: Framework, channels: int, out_channels: int, stride: int) -> Any:
    nn, relu = f.nn, f.functional.relu

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False)
            self.norm1 = nn.BatchNorm2d(out_channels)
            self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(out_channels)
            self.shortcut = nn.Identity()
            if channels != out_channels or stride != 1:
                shorter = nn.Conv2d(channels, out_channels, 1, stride, bias=False)
                self.shortcut = nn.Sequential(shorter, nn.BatchNorm2d(out_channels))

        def forward(self, x: Any) -> Any:
            return relu(self.norm2(self.conv2(relu(self.norm1(self.conv1(x))))) + self.shortcut(x))

    return Block()


def residual(f: Framework, widths: Sequence[int], blocks: int, classes: int = 10) -> Any:
    """Images (N, 3, h, w) to logits: `blocks` blocks of each width, and from width to width the image is halved.

    He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", for small images.
    """
    nn = f.nn
    layers = [nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    for i, (channels, width) in enumerate(pairwise([widths[0], *widths])):
        layers += [_block(f, channels, width, 2 if i else 1), *(_block(f, width, width, 1) for _ in range(blocks - 1))]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))


def mobile(f: Framework, plan: Sequence[tuple[int, int]], classes: int = 10) -> Any:
    """Images (N, 3, h, w) to logits: convolutions of each channel alone, then 1x1 ones, for each (channels, stride).

    Howard et al. 2017, "MobileNets: efficient convolutional neural networks for mobile vision applications".
    """
    nn = f.nn
    width = plan[0][0] // 2
    layers = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    for channels, stride in plan:
        layers += [nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.Conv2d(width, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        width = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def unet(f: Framework, widths: Sequence[int]) -> Any:
    """Images (N, 3, h, w) to images (N, 1, h, w): down through `widths`, up again, each level joined to its like.

    Ronneberger, Fischer and Brox 2015, "U-Net: convolutional networks for biomedical image segmentation".
    """
    nn = f.nn

    def twice(channels: int, width: int) -> Any:
        first = [nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        second = [nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        return nn.Sequential(*first, *second)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList([twice(a, b) for a, b in pairwise([3, *widths])])
            upwards = list(pairwise(reversed(widths)))
            self.bigger = nn.ModuleList([nn.ConvTranspose2d(a, b, 2, 2) for a, b in upwards])
            self.up = nn.ModuleList([twice(2 * b, b) for _, b in upwards])
            self.last, self.pool = nn.Conv2d(widths[0], 1, 1), nn.MaxPool2d(2)

        def forward(self, x: Any) -> Any:
            levels = []
            for i, down in enumerate(self.down):
                x = down(self.pool(x) if i else x)
                levels.append(x)
            for bigger, up, level in zip(self.bigger, self.up, reversed(levels[:-1])):
                x = up(f.numpy.concat([bigger(x), level], axis=1))
            return self.last(x)

    return UNet()


def volumes(f: Framework, widths: Sequence[int], classes: int = 10) -> Any:
    """Volumes (N, 1, d, h, w) to logits: convolutions over three axes, halved from width to width."""
    nn = f.nn
    layers: list[Any] = []
    for i, (channels, width) in enumerate(pairwise([1, *widths])):
        layers += [nn.Conv3d(channels, width, 3, 2 if i else 1, 1, bias=False), nn.BatchNorm3d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(widths[-1], classes))


def adversaries(f: Framework, latent: int, width: int) -> Any:
    """For images (N, 3, 32, 32) and numbers (N, latent, 1, 1) the judgements of both: of the images, and of those that
    the generator makes of the numbers.

    Radford, Metz and Chintala 2016, "Unsupervised representation learning with deep convolutional generative
    adversarial networks".
    """
    nn = f.nn

    def generator() -> Any:
        layers = [nn.ConvTranspose2d(latent, 4 * width, 4, 1, 0, bias=False), nn.BatchNorm2d(4 * width), nn.ReLU()]
        for wide, narrow in ((4 * width, 2 * width), (2 * width, width)):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()]
        return nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Tanh())

    def critic() -> Any:
        layers = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for narrow, wide in ((width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2)]
        return nn.Sequential(*layers, nn.Conv2d(4 * width, 1, 4), nn.Flatten())

    class Adversaries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator, self.critic = generator(), critic()

        def forward(self, images: Any, numbers: Any) -> Any:
            return self.critic(images), self.critic(self.generator(numbers))

    return Adversaries()
