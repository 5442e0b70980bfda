"""Handwritten digits by a convolutional network: the first example of PyTorch, in one compiled step.

python examples/mnist.py [--epochs 20] [--memory 90%] [--data mnist.npz] [--save digits.safetensors]

The digits come with the package, 8x8 pixels. `--data` takes MNIST instead, 28x28, as an .npz file of `x_train`,
`y_train`, `x_test` and `y_test`. What is printed is a line for each epoch and the accuracy on the test images, about
98% after 20 epochs of the digits.

LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition".
"""

import argparse

import gradloom as gl
from gradloom import nn
from gradloom.examples import digit_images


class Net(nn.Module):
    """Images (n, 1, side, side) to logits (n, 10)."""

    def __init__(self, side):
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(64 * ((side - 4) // 2) ** 2, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = nn.relu(self.conv1(x))
        x = nn.relu(self.conv2(x))
        x = self.dropout1(nn.max_pool2d(x, 2))
        x = nn.relu(self.fc1(x.reshape(len(x), -1)))
        return self.fc2(self.dropout2(x))


def loss_fn(model, batch):
    return nn.cross_entropy(model(batch["x"]), batch["y"])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", help="a bound for all that the step takes, such as 1.3MB or 90%%")
    parser.add_argument("--data", help="MNIST as an .npz file")
    parser.add_argument("--save", help="write the parameters to this .safetensors file")
    options = parser.parse_args(argv)

    train, test = digit_images.read(options.data)
    batch = {name: array[: options.batch_size] for name, array in train.items()}
    model = Net(side=batch["x"].shape[-1])
    steps = options.epochs * (len(train["y"]) // len(batch["y"]))
    optimizer = gl.optim.AdamW(gl.optim.Cosine(options.lr, steps))
    step = gl.compile_step(model, loss_fn, optimizer, batch, memory=options.memory, seed=options.seed)
    history = gl.fit(
        step, train, epochs=options.epochs, validate=test, metrics=[gl.metrics.accuracy], seed=options.seed
    )
    if options.save:
        step.save(options.save)
    accuracy, megabytes = history["val_accuracy"][-1], step.report.total_bytes / 1e6
    print(f"{accuracy:.1%} of {len(test['y'])} test images; a step takes {megabytes:.1f} MB")
    return {"accuracy": accuracy}


if __name__ == "__main__":
    main()
