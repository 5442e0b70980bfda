"""Images of digits that the examples learn from, and what tells whether those that they make are like them.

They come with the package, 8x8 pixels; a path names MNIST, 28x28, as an .npz file of `x_train`, `y_train`, `x_test` and
`y_test`.
"""

import math

import numpy as np
from gradloom.tools.data import load_digits, load_mnist

SHADES = " .:-=+*#%@"


def read(path=None):
    """Digits to train with and to test with: each "x" (n, 1, side, side) in 0..1 and "y" (n,)."""
    x, y, x_test, y_test = load_digits() if path is None else load_mnist(path)
    side = math.isqrt(x.shape[1])
    return {"x": x.reshape(-1, 1, side, side), "y": y}, {"x": x_test.reshape(-1, 1, side, side), "y": y_test}


def as_text(images):
    """Images (n, 1, height, width) in 0..1 beside each other, a pixel as two characters."""
    levels = np.rint(np.clip(images[:, 0], 0, 1) * (len(SHADES) - 1)).astype(int)
    return "\n".join("  ".join("".join(SHADES[p] * 2 for p in row) for row in line) for line in levels.swapaxes(0, 1))


def frechet_distance(images, others):
    """How far apart the means and covariances of the pixels are: 0 where they are equal. Dowson and Landau 1982."""
    (mean, covariance), (other_mean, other_covariance) = (
        (pixels.mean(axis=0), np.cov(pixels, rowvar=False))
        for pixels in (x.reshape(len(x), -1) for x in (images, others))
    )
    # The eigenvalues of a product of two covariances are real and not negative, but for rounding.
    roots = np.sqrt(np.linalg.eigvals(covariance @ other_covariance).real.clip(0))
    return ((mean - other_mean) ** 2).sum() + np.trace(covariance) + np.trace(other_covariance) - 2 * roots.sum()
