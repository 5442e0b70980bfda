"""Augmentation as a part of the program: images (N, C, H, W) changed at random, each in a way of its own.

The functions draw from the key in force, so that inside a compiled step the seed and the number of the step say what is
drawn, and a resumed run draws the same. The layers do in training what their functions do, and nothing in evaluation,
but for the size of what is cut out. Shapes are those that a program has; a batch in another size is
`nn.functional.interpolate`.

    class Classifier(nn.Module):
        def __init__(self):
            self.augment = nn.Sequential(nn.augment.RandomCrop(32, padding=4), nn.augment.RandomHorizontalFlip())
            self.network = ...

        def forward(self, x):
            return self.network(self.augment(x))

    def loss_fn(model, batch):
        x, y = nn.augment.mixup(batch["x"], batch["y"], num_classes=10)
        return nn.cross_entropy(model(x), y)
"""

from typing import TYPE_CHECKING

from ...tracing.missing_names import attributes_of
from .colors import gaussian_blur, gaussian_noise
from .geometry import (
    random_affine,
    random_crop,
    random_horizontal_flip,
    random_resized_crop,
    random_rotation,
    random_vertical_flip,
)
from .layers import (
    GaussianBlur,
    GaussianNoise,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
)
from .mixing import cutmix, mixup

__all__ = [
    "GaussianBlur",
    "GaussianNoise",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "cutmix",
    "gaussian_blur",
    "gaussian_noise",
    "mixup",
    "random_affine",
    "random_crop",
    "random_horizontal_flip",
    "random_resized_crop",
    "random_rotation",
    "random_vertical_flip",
]

if not TYPE_CHECKING:
    __getattr__ = attributes_of(__name__, __all__, "nn.augment")
__dir__ = __all__.copy
