"""Augmentation: what each function does at the ends of its ranges, that examples differ, and that steps draw again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn
from gradloom.nn import augment
from scipy import ndimage

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 2, 5, 7))
SQUARE = RNG.normal(size=(4, 3, 6, 6)).astype("float32")


def drawn(call: Callable[[], Any], seed: int = 0) -> Any:
    with gl.random.key(seed):
        return call()


def test_flips_turn_some_images_over() -> None:
    for flip, axis in ((augment.random_horizontal_flip, 3), (augment.random_vertical_flip, 2)):
        np.testing.assert_array_equal(drawn(lambda f=flip: f(X, 1.0)), np.flip(X, axis))
        np.testing.assert_array_equal(drawn(lambda f=flip: f(X, 0.0)), X)
        many = np.repeat(X[:1], 400, axis=0)
        turned = (drawn(lambda f=flip, many=many: f(many)) != many).any(axis=(1, 2, 3))
        assert 140 < turned.sum() < 260


def test_a_crop_is_a_window_at_a_place_of_each_image() -> None:
    many = np.repeat(np.arange(35.0).reshape(1, 1, 5, 7), 300, axis=0)
    found = drawn(lambda: augment.random_crop(many, (2, 3)))
    corners = found[:, 0, 0, 0]
    expected = corners[:, None, None] + np.arange(2)[:, None] * 7 + np.arange(3)
    np.testing.assert_array_equal(found[:, 0], expected)
    assert set(corners) == {7 * i + j for i in range(4) for j in range(5)}
    padded = drawn(lambda: augment.random_crop(many[:2] + 1, (9, 11), padding=2))
    np.testing.assert_array_equal(padded, np.pad(many[:2] + 1, ((0, 0), (0, 0), (2, 2), (2, 2))))
    sides = drawn(lambda: augment.random_crop(many[:1], (5, 12), padding=(1, 0, 4, 0), padding_mode="replicate"))
    np.testing.assert_array_equal(sides, np.pad(many[:1], ((0, 0), (0, 0), (0, 0), (1, 4)), mode="edge"))
    np.testing.assert_array_equal(drawn(lambda: augment.random_crop(X, (5, 7))), X)


def test_rotations_are_counter_clockwise() -> None:
    for mode in ("bilinear", "nearest"):
        quarter = drawn(lambda mode=mode: augment.random_rotation(SQUARE, (90, 90), mode))
        np.testing.assert_allclose(quarter, np.rot90(SQUARE, axes=(2, 3)), atol=1e-5)
        half = drawn(lambda mode=mode: augment.random_rotation(X, (180, 180), mode))
        np.testing.assert_allclose(half, X[:, :, ::-1, ::-1], atol=1e-9)
    smooth = ndimage.gaussian_filter(RNG.normal(size=(15, 21)), 2)
    found = drawn(lambda: augment.random_rotation(smooth[None, None], (20, 20)))[0, 0]
    expected = ndimage.rotate(smooth, 20, reshape=False, order=1)
    np.testing.assert_allclose(found[4:-4, 6:-6], expected[4:-4, 6:-6], atol=1e-6)
    filled = drawn(lambda: augment.random_rotation(X * 0 + 3, (45, 45), fill=3.0))
    np.testing.assert_allclose(filled, 3)
    each = drawn(lambda: augment.random_rotation(np.repeat(X[:1], 5, axis=0), 30))
    assert len({image.tobytes() for image in each}) == 5


def test_affine_maps_move_and_resize() -> None:
    same = drawn(lambda: augment.random_affine(X))
    np.testing.assert_allclose(same, X, atol=1e-9)
    moved = drawn(lambda: augment.random_affine(X, translate=(2 / 7, 0.0), scale=(1, 1)))
    assert not np.allclose(moved, X)
    wide = np.kron(X, np.ones((3, 3)))
    large = drawn(lambda: augment.random_affine(wide, scale=(3, 3), mode="nearest"))
    np.testing.assert_allclose(large, np.kron(wide, np.ones((3, 3)))[:, :, 15:30, 21:42])


def test_a_resized_crop_lies_inside() -> None:
    whole = drawn(lambda: augment.random_resized_crop(X, (10, 14), (1, 1), (7 / 5, 7 / 5)))
    np.testing.assert_allclose(whole, nn.functional.interpolate(X, (10, 14), mode="bilinear"), atol=1e-9)
    ramp = np.broadcast_to(np.arange(7.0), (200, 1, 5, 7))
    found = drawn(lambda: augment.random_resized_crop(ramp, 4))
    assert found.shape == (200, 1, 4, 4)
    assert found.min() >= 0
    assert found.max() <= 6
    assert np.ptp(found[:, 0, 0, 0]) > 1


def test_noise_and_blur() -> None:
    noisy = drawn(lambda: augment.gaussian_noise(np.zeros((50, 1, 20, 20)), 1.0, (0.5, 0.5)))
    np.testing.assert_allclose([noisy.mean(), noisy.std()], [1, 0.5], atol=0.02)
    spread = drawn(lambda: augment.gaussian_noise(np.zeros((50, 1, 20, 20)), sigma=(0, 2))).std(axis=(1, 2, 3))
    assert spread.min() < 0.3
    assert spread.max() > 1.5
    clipped = drawn(lambda: augment.gaussian_noise(X, sigma=3.0, clip=(0, 1)))
    assert (clipped.min(), clipped.max()) == (0, 1)
    blurred = drawn(lambda: augment.gaussian_blur(X, (3, 5), 0.8))
    expected = X
    for axis, size in ((2, 3), (3, 5)):
        weights = np.exp(-0.5 * (np.arange(-(size // 2), size // 2 + 1) / 0.8) ** 2)
        expected = ndimage.convolve1d(expected, weights / weights.sum(), axis, mode="mirror")
    np.testing.assert_allclose(blurred, expected)


def test_mixup_and_cutmix_mix_targets_as_images() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    x = np.broadcast_to(np.arange(6.0)[:, None, None, None], (6, 2, 5, 7))
    for alpha in (1.0, 0.4):
        mixed, target = drawn(lambda alpha=alpha: augment.mixup(x, labels, alpha, num_classes=3))
        share = target[np.arange(6), labels]
        numbers = share * np.arange(6) + (1 - share) * np.roll(np.arange(6), 1)
        np.testing.assert_allclose(mixed, np.broadcast_to(numbers[:, None, None, None], x.shape))
        np.testing.assert_allclose(target.sum(axis=1), 1)
        assert np.unique(share).size == 6
        cut, target = drawn(lambda alpha=alpha: augment.cutmix(x, labels, alpha, num_classes=3))
        share = (cut == x).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(target[np.arange(6), labels], share)
        assert ((cut == x) | (cut == np.roll(x, 1, axis=0))).all()
    soft = drawn(lambda: augment.mixup(x, np.eye(3)[labels]))[1]
    np.testing.assert_allclose(soft, drawn(lambda: augment.mixup(x, labels, num_classes=3))[1])


class Network(nn.Module):
    def __init__(self) -> None:
        self.augment = nn.Sequential(
            augment.RandomCrop(6, padding=1),
            augment.RandomHorizontalFlip(),
            augment.RandomVerticalFlip(),
            augment.RandomRotation(15),
            augment.RandomAffine(5, (0.1, 0.1), (0.9, 1.1)),
            augment.RandomResizedCrop(6, (0.5, 1.0)),
            augment.GaussianNoise(sigma=(0, 0.1)),
            augment.GaussianBlur(3),
        )
        self.linear = nn.Linear(108, 3)

    def forward(self, x: Any) -> Any:
        return self.linear(self.augment(x).reshape(len(x), -1))


def test_inside_a_step_each_step_draws_anew_and_evaluation_draws_nothing() -> None:
    def loss_fn(model: Any, batch: Any) -> Any:
        x, y = augment.mixup(batch["x"], batch["y"], 0.4, num_classes=3)
        x, y = augment.cutmix(x, y)
        return nn.cross_entropy(model(x), y)

    batch = {"x": SQUARE, "y": np.array([0, 1, 2, 0])}
    one, other = (gl.compile_step(Network(), loss_fn, gl.optim.SGD(0.0), batch, seed=3) for _ in range(2))
    losses = [float(one(batch)) for _ in range(3)]
    assert len(set(losses)) == 3
    assert losses == [float(other(batch)) for _ in range(3)]
    augmented = one.bind(lambda model, x: model.augment(x))
    np.testing.assert_array_equal(augmented(SQUARE), SQUARE)


def test_in_evaluation_crops_have_their_size() -> None:
    for layer in (augment.RandomCrop(3), augment.RandomResizedCrop((2, 3))):
        found = nn.functional_call(layer, {}, X)
        assert found.shape == (6, 2, *((3, 3) if isinstance(layer, augment.RandomCrop) else (2, 3)))
    np.testing.assert_array_equal(nn.functional_call(augment.RandomCrop(3), {}, X), X[:, :, 1:4, 2:5])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: augment.random_crop(X, 6), gl.ShapeError, r"a window of \(6, 6\) is larger"),
        (lambda: augment.random_crop(X, 3, padding=-1), ValueError, "padding is a whole number, 0 or more"),
        (lambda: augment.random_crop(X[0], 3), gl.ShapeError, r"images are \(N, C, H, W\)"),
        (lambda: augment.random_horizontal_flip(X.astype("uint8")), TypeError, r"astype\('float32'\) / 255"),
        (lambda: augment.random_vertical_flip(X, 1.5), ValueError, "a probability is from 0 to 1, got 1.5"),
        (lambda: augment.random_rotation(X, (30, 10)), ValueError, r"degrees is a number or \(least, most\)"),
        (lambda: augment.random_affine(X, scale=(0, 1)), ValueError, "scale is a number"),
        (lambda: augment.gaussian_blur(X, 4), ValueError, "kernel_size is odd"),
        (lambda: augment.gaussian_blur(X, 11), gl.ShapeError, "too large"),
        (lambda: augment.gaussian_noise(X, sigma=-1), ValueError, "sigma is a number"),
        (lambda: augment.mixup(X, np.zeros(6, int)), gl.ShapeError, r"labels \(N,\) with num_classes="),
        (lambda: augment.mixup(X, np.zeros((4, 3))), gl.ShapeError, "6 inputs, but 4 targets"),
        (lambda: augment.cutmix(X, np.zeros((6, 3)), alpha=0), ValueError, "alpha is above 0"),
        (lambda: nn.functional_call(augment.RandomCrop(9), {}, X), gl.ShapeError, "in evaluation"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        drawn(call)
