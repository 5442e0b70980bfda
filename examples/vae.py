"""A variational autoencoder of digits: an encoder to a few numbers, and a decoder that makes digits of such numbers.

python examples/vae.py [--epochs 30] [--latent 8] [--data mnist.npz]

What is printed are the bounds on the log-likelihood of the training and of the test images, epoch by epoch, then
digits that the decoder makes of random numbers, and how far they are from the test images in means and covariances.

Kingma and Welling 2014, "Auto-encoding variational Bayes".
"""

import argparse

import gradloom as gl
import numpy as np
from gradloom import nn
from gradloom.examples import digit_images


class VAE(nn.Module):
    """Images (n, 1, side, side) to logits of their pixels, with mean and log variance of the numbers between."""

    def __init__(self, side, hidden, latent):
        self.latent = latent
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(side * side, hidden), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, side * side), nn.Unflatten(1, (1, side, side))
        )

    def forward(self, x):
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + np.exp(log_variance / 2) * gl.random.normal(mean.shape)
        return self.decoder(z), mean, log_variance


def loss_fn(model, batch):
    """The negative evidence lower bound of an image, in nats: what its pixels cost, and what the numbers cost."""
    logits, mean, log_variance = model(batch["x"])
    pixels = nn.binary_cross_entropy_with_logits(logits, batch["x"], reduction="sum")
    numbers = -0.5 * np.sum(1 + log_variance - mean**2 - np.exp(log_variance))
    return (pixels + numbers) / len(mean)


def sample(model, count):
    return nn.sigmoid(model.decoder(gl.random.normal((count, model.latent))))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--latent", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", help="MNIST as an .npz file")
    options = parser.parse_args(argv)

    train, test = ({"x": part["x"]} for part in digit_images.read(options.data))
    batch = {"x": train["x"][: options.batch_size]}
    model = VAE(batch["x"].shape[-1], options.hidden, options.latent)
    step = gl.compile_step(model, loss_fn, gl.optim.Adam(options.lr), batch, seed=options.seed)
    history = gl.fit(step, train, epochs=options.epochs, validate=test, seed=options.seed)

    images = step.bind(lambda model: sample(model, len(test["x"])), key=options.seed)()
    print(digit_images.as_text(images[:8]))
    distance = digit_images.frechet_distance(images, test["x"])
    print(f"Frechet distance of the pixels of {len(images)} samples to those of the test images: {distance:.2f}")
    return {"bounds": history["val_loss"], "distance": distance}


if __name__ == "__main__":
    main()
