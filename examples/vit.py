"""A vision transformer of digits: an image is a sequence of patches, and a transformer reads it.

python examples/vit.py [--epochs 30] [--memory 80%] [--data mnist.npz]

In training each image is turned, moved and scaled a little, another way each time, inside the step. What is printed
is a line for each epoch and the accuracy on the test images, about 97%.

Dosovitskiy et al. 2021, "An image is worth 16x16 words: transformers for image recognition at scale".
"""

import argparse

import gradloom as gl
import numpy as np
from gradloom import nn
from gradloom.examples import digit_images


class Block(nn.Module):
    """Attention and two linear layers, each behind a layer norm and added to what it reads."""

    def __init__(self, width, heads, dropout):
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x):
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Images (n, 1, side, side) to logits (n, 10)."""

    def __init__(self, side, patch, width=64, layers=4, heads=4, dropout=0.0):
        patches = (side // patch) ** 2
        self.augment = nn.augment.RandomAffine(degrees=10, translate=(0.1, 0.1), scale=(0.9, 1.1))
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        self.class_token = nn.Parameter((1, 1, width), initializer=nn.init.zeros())
        self.positions = nn.Parameter((1, patches + 1, width), initializer=nn.init.normal(std=0.02))
        self.blocks = nn.Sequential(*[Block(width, heads, dropout) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x):
        x = self.patches(self.augment(x)).flatten(2).transpose(1, 2)
        x = np.concatenate([self.class_token.expand(len(x), -1, -1), x], axis=1) + self.positions
        return self.head(self.norm(self.blocks(x)[:, 0]))


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"], label_smoothing=0.1)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", help="a bound for all that the step takes, such as 5MB or 80%%")
    parser.add_argument("--data", help="MNIST as an .npz file")
    options = parser.parse_args(argv)

    train, test = digit_images.read(options.data)
    batch = {name: array[: options.batch_size] for name, array in train.items()}
    side = batch["x"].shape[-1]
    steps = options.epochs * (len(train["y"]) // len(batch["y"]))
    rate = gl.optim.WarmUp(gl.optim.Cosine(options.lr, steps), steps=steps // 20)
    optimizer = gl.optim.AdamW(rate, weight_decay=0.05)
    model = ViT(side, patch=side // 4)
    step = gl.compile_step(model, loss_fn, optimizer, batch, clip_norm=1.0, memory=options.memory, seed=options.seed)
    metrics = [gl.metrics.accuracy]
    history = gl.fit(step, train, epochs=options.epochs, validate=test, metrics=metrics, seed=options.seed)
    accuracy = history["val_accuracy"][-1]
    print(f"{accuracy:.1%} of {len(test['y'])} test images; a step takes {step.report.total_bytes / 1e6:.1f} MB")
    return {"accuracy": accuracy}


if __name__ == "__main__":
    main()
