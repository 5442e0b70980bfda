"""A siamese network: told only which digits are alike, it names all of them from one example each.

python examples/siamese.py [--epochs 20] [--margin 1.0] [--memory 80%] [--seed 0]

One network maps both images of a pair to points, near each other for the same digit and `margin` apart for others. It
is never told which digit that is. What is printed are a line for each epoch, the share of the pairs of test images that
it judges right, and how often a test image has the digit of the nearest of ten examples, by points and by pixels.

Hadsell, Chopra and LeCun 2006, "Dimensionality reduction by learning an invariant mapping".
"""

import argparse

import gradloom as gl
import numpy as np
from gradloom import nn
from gradloom.tools.data import load_digits


class Siamese(nn.Module):
    """Two batches of images (n, 1, 8, 8) to the distances (n,) of their points."""

    def __init__(self, size=32):
        self.embed = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(256, size),
        )

    def forward(self, a, b):
        return nn.pairwise_distance(self.embed(a), self.embed(b))


def contrastive_loss(margin):
    def loss_fn(model, batch):
        distance = model(batch["a"], batch["b"])
        too_near = nn.relu(margin - distance)
        right = (distance < margin / 2) == batch["same"]
        return np.where(batch["same"], distance**2, too_near**2).mean(), {"accuracy": right.mean()}

    return loss_fn


def pairs(batch, rng):
    """Each image beside another one of the batch, which in half of the pairs shows the same digit."""
    y, count = batch["y"], len(batch["y"])
    same = rng.random(count) < 0.5
    allowed = ((y[:, None] == y) == same[:, None]) & ~np.eye(count, dtype=bool)
    other = np.where(allowed, rng.random((count, count)), -1).argmax(axis=1)
    return {"a": batch["x"], "b": batch["x"][other], "same": y == y[other]}


def one_shot_accuracy(points, y, rng, draws=20):
    """How often the nearest of one example for each class has the class of a point; the mean over draws of examples."""
    right = []
    for _ in range(draws):
        examples = np.array([rng.choice(np.flatnonzero(y == label)) for label in np.unique(y)])
        nearest = np.linalg.norm(points[:, None] - points[examples], axis=-1).argmin(axis=1)
        others = np.setdiff1d(np.arange(len(y)), examples)
        right.append(np.mean(y[examples[nearest[others]]] == y[others]))
    return float(np.mean(right))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--margin", type=float, default=1.0)
    parser.add_argument("--memory", help="a bound for all that the step takes, such as 2MB or 80%%")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)

    x, y, x_test, y_test = load_digits()
    x, x_test = (images.reshape(-1, 1, 8, 8) for images in (x, x_test))
    train = gl.data.Arrays({"x": x, "y": y}, 128, drop_last=True, seed=options.seed).map(pairs, seed=options.seed)
    test = gl.data.Arrays({"x": x_test, "y": y_test}, 128, shuffle=False).map(pairs, seed=options.seed)
    model, loss_fn, optimizer = Siamese(), contrastive_loss(options.margin), gl.optim.Adam(2e-3)
    step = gl.compile_step(model, loss_fn, optimizer, next(iter(train)), memory=options.memory, seed=options.seed)
    history = gl.fit(step, train, epochs=options.epochs, validate=test)

    points = step.bind(lambda model, x: model.embed(x))(x_test)
    pixels = x_test.reshape(len(x_test), -1)
    by_points, by_pixels = (one_shot_accuracy(p, y_test, np.random.default_rng(options.seed)) for p in (points, pixels))
    print(f"{history['val_accuracy'][-1]:.1%} of the pairs of test images are judged right")
    print(f"{by_points:.1%} of the test images are named from one example of each digit; by pixels {by_pixels:.1%}")
    return {"pairs": history["val_accuracy"][-1], "points": by_points, "pixels": by_pixels}


if __name__ == "__main__":
    main()
