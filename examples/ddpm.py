"""A diffusion model of digits: a network that takes noise away, and digits made of noise alone.

python examples/ddpm.py [--epochs 40] [--seed 0] [--data mnist.npz]

A step draws for each image how much noise it gets, and the noise, which the network then names. Sampling takes noise
away in as many small steps as it is added in, all in one compiled function, with the average of the parameters. What
is printed are the losses, how far the samples are from the test images in means and covariances, and samples.

Ho, Jain and Abbeel 2020, "Denoising diffusion probabilistic models".
"""

import argparse

import gradloom as gl
import numpy as np
from gradloom import nn
from gradloom.examples import digit_images

TIMES = 200
KEPT = 1 - np.linspace(0.0005, 0.1, TIMES, dtype="float32")  # of the variance of an image, from each time to the next
SIGNAL = np.cumprod(KEPT)  # and from the first


class Block(nn.Module):
    """Two convolutions around the time, added to the input."""

    def __init__(self, inputs, outputs, width):
        self.norm1, self.conv1 = nn.GroupNorm(8, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.time = nn.Linear(width, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, time):
        h = self.conv1(nn.silu(self.norm1(x))) + self.time(time)[:, :, None, None]
        return self.skip(x) + self.conv2(nn.silu(self.norm2(h)))


class UNet(nn.Module):
    """The noise in images (n, 1, side, side) at times (n,)."""

    def __init__(self, width=16):
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width), nn.SiLU())
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.down = Block(width, width, 2 * width)
        self.narrow = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.middle1 = Block(2 * width, 2 * width, 2 * width)
        self.middle2 = Block(2 * width, 2 * width, 2 * width)
        self.wide = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.up = Block(2 * width, width, 2 * width)
        self.last = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, x, t):
        angles = t[:, None].astype("float32") * np.geomspace(1, 0.001, self.width // 2, dtype="float32")
        time = self.time(np.concatenate([np.sin(angles), np.cos(angles)], axis=1))
        x = self.down(self.first(x), time)
        h = self.middle2(self.middle1(self.narrow(x), time), time)
        return self.last(self.up(np.concatenate([x, self.wide(h)], axis=1), time))


def loss_fn(model, images):
    t, noise = gl.random.randint((len(images),), 0, TIMES), gl.random.normal(images.shape)
    signal = gl.numpy.take(SIGNAL, t)[:, None, None, None]
    noisy = np.sqrt(signal) * images + np.sqrt(1 - signal) * noise
    return nn.mse_loss(model(noisy, t), noise)


def sample(model, shape):
    def less_noise(x, now):
        t, kept, signal = now
        noise = model(x, np.broadcast_to(t, shape[:1]))
        x = (x - noise * (1 - kept) / np.sqrt(1 - signal)) / np.sqrt(kept)
        return x + np.where(t > 0, np.sqrt(1 - kept), 0) * gl.random.normal(shape), None

    x, _ = gl.scan(less_noise, gl.random.normal(shape), (np.arange(TIMES), KEPT, SIGNAL), reverse=True)
    return x


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--memory", help="a bound for all that the step takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", help="MNIST as an .npz file")
    options = parser.parse_args(argv)

    train, test = (2 * part["x"] - 1 for part in digit_images.read(options.data))  # from -1 to 1
    steps = options.epochs * (len(train) // options.batch_size)
    optimizer = gl.optim.EMA(gl.optim.Adam(gl.optim.Cosine(options.lr, steps)), decay=0.99)
    step = gl.compile_step(
        UNet(options.width), loss_fn, optimizer, train[: options.batch_size], memory=options.memory, seed=options.seed
    )
    losses = gl.fit(step, train, epochs=options.epochs, seed=options.seed)["loss"]

    images = step.bind(lambda model: sample(model, (256, *test.shape[1:])), averaged=True, key=options.seed)()
    distance = digit_images.frechet_distance(images / 2, test / 2)
    print(digit_images.as_text(images[:8] / 2 + 0.5))
    print(f"Frechet distance of the pixels of {len(images)} samples to those of the test images: {distance:.2f}")
    return {"losses": losses, "distance": distance}


if __name__ == "__main__":
    main()
