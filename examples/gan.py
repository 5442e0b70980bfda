"""A generative adversarial network of digits, the deep convolutional one: two steps that share a model.

python examples/gan.py [--epochs 100] [--seed 0] [--data mnist.npz]

A generator makes images of noise, a discriminator tells them from digits. Each is trained by a step of its own, which
holds the parameters of both and changes its own. What is printed are both losses and how far the samples are from
the test images in means and covariances, then samples. They come from an average of the generator's parameters.

Goodfellow et al. 2014, "Generative adversarial nets"; Radford, Metz and Chintala 2016, "Unsupervised representation
learning with deep convolutional generative adversarial networks".
"""

import argparse

import gradloom as gl
from gradloom import nn
from gradloom.examples import digit_images

NOISE = 16


class GAN(nn.Module):
    """Noise (n, 16, 1, 1) to images (n, 1, side, side), and images to logits (n,) of being real."""

    def __init__(self, side=8, width=32):
        first = side // 4
        self.generator = nn.Sequential(
            nn.ConvTranspose2d(NOISE, 2 * width, first, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1, bias=False),
            nn.Sigmoid(),
        )
        self.discriminator = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, first),
            nn.Flatten(0),
        )
        self.apply(initialize)


def initialize(module):
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, std=0.02)


def generate(model, count):
    return model.generator(gl.random.normal((count, NOISE, 1, 1)))


def discriminator_loss(model, real):
    """The binary cross entropy of what is real and what is not: -log sigmoid(x) is softplus(-x)."""
    fake = gl.stop_gradient(generate(model, len(real)))
    return nn.softplus(-model.discriminator(real)).mean() + nn.softplus(model.discriminator(fake)).mean()


def generator_loss(model, real):
    return nn.softplus(-model.discriminator(generate(model, len(real)))).mean()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", help="MNIST as an .npz file")
    options = parser.parse_args(argv)

    train, test = (part["x"] for part in digit_images.read(options.data))
    batches = gl.data.Arrays(train, options.batch_size, seed=options.seed, drop_last=True)
    model, batch = GAN(side=train.shape[-1]), train[: options.batch_size]
    adam = gl.optim.Adam(options.lr, betas=(0.5, 0.999))
    step_d = gl.compile_step(model, discriminator_loss, adam, batch, train="discriminator.*", seed=options.seed)
    average = gl.optim.EMA(adam, decay=0.99)
    step_g = gl.compile_step(
        model, generator_loss, average, batch, train="generator.*", share=step_d, seed=options.seed + 1
    )
    sample = step_g.bind(lambda model: generate(model, len(test)), averaged=True, key=options.seed)

    print(f"{'epoch':>5}{'discriminator':>15}{'generator':>11}{'distance':>10}")
    for epoch in range(1, options.epochs + 1):
        for batch in batches:
            loss_d, loss_g = step_d(batch), step_g(batch)
        if epoch % max(options.epochs // 10, 1) == 0 or epoch == options.epochs:
            distance = digit_images.frechet_distance(sample(), test)
            print(f"{epoch:5}{loss_d:15.3f}{loss_g:11.3f}{distance:10.2f}", flush=True)
    print(digit_images.as_text(sample()[:8]))
    return {"distance": distance}


if __name__ == "__main__":
    main()
