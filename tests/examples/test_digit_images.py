"""What `examples/digit_images.py` says of images."""

import numpy as np
import pytest
from gradloom.examples import digit_images


def test_images_as_text_stand_beside_each_other():
    images = np.array([[[[0.0, 1.0], [2.0, -1.0]]], [[[0.5, 0.0], [0.0, 0.5]]]])
    assert digit_images.as_text(images) == "  @@  ==  \n@@      =="


def test_the_distance_of_two_normals_is_that_of_their_means_and_deviations():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 1, 2, 2))
    assert digit_images.frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    # Each of four pixels: (2 - 0)^2 for the means, (3 - 1)^2 for the deviations.
    assert digit_images.frechet_distance(x, 3 * x + 2) == pytest.approx(4 * (2 * x.mean() + 2) ** 2 + 4 * 4, rel=0.05)
