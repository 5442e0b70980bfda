"""Batch, instance and group norm against torch: functions in float64, layers with their running statistics."""

import gradloom as gl
import numpy as np
import pytest
from against_torch import assert_like_torch
from gradloom import nn, optim

pytestmark = pytest.mark.usefixtures("one_thread_for_torch")

F = nn.functional
RNG = np.random.default_rng(0)
C = 6
SHAPES = [(5, C), (4, C, 7), (3, C, 4, 5), (2, C, 1, 1), (1, C, 3, 1), (2, C, 2, 3, 2)]
WEIGHT, BIAS = RNG.standard_normal(C), RNG.standard_normal(C)
MEAN, VARIANCE = RNG.standard_normal(C), RNG.uniform(0.5, 2, C)


def x_of(shape, dtype="float64"):
    return (RNG.standard_normal(shape) * 2 + 3).astype(dtype)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.peers
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_of_a_batch_is_torchs(torch, shape, affine):
    theirs = torch.nn.functional.batch_norm
    if affine:
        assert_like_torch(
            lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=1e-3),
            lambda x, w, b: theirs(x, None, None, w, b, training=True, eps=1e-3),
            x_of(shape),
            WEIGHT,
            BIAS,
        )
    else:
        ours = lambda x: F.batch_norm(x, MEAN, VARIANCE, training=True)  # noqa: E731
        running = torch.tensor(MEAN), torch.tensor(VARIANCE)
        assert_like_torch(ours, lambda x: theirs(x, *(r.clone() for r in running), training=True), x_of(shape))


@pytest.mark.peers
@pytest.mark.parametrize("shape", [*SHAPES, (0, C, 3, 2), (1, C)], ids=str)
def test_batch_norm_by_running_statistics_is_torchs(torch, shape):
    running = torch.tensor(MEAN), torch.tensor(VARIANCE)
    assert_like_torch(
        lambda x, w, b: F.batch_norm(x, MEAN, VARIANCE, w, b),
        lambda x, w, b: torch.nn.functional.batch_norm(x, *running, w, b),
        x_of(shape),
        WEIGHT,
        BIAS,
    )


@pytest.mark.peers
@pytest.mark.parametrize("shape", SHAPES[1:3] + SHAPES[5:], ids=str)
def test_instance_norm_is_torchs(torch, shape):
    theirs = torch.nn.functional.instance_norm
    assert_like_torch(
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b), lambda x, w, b: theirs(x, weight=w, bias=b),
        x_of(shape), WEIGHT, BIAS,
    )  # fmt: skip


@pytest.mark.peers
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [*SHAPES[1:3], (0, C, 3, 2)], ids=str)
def test_group_norm_is_torchs(torch, shape, groups):
    theirs = torch.nn.functional.group_norm
    assert_like_torch(
        lambda x, w, b: F.group_norm(x, groups, w, b), lambda x, w, b: theirs(x, groups, w, b),
        x_of(shape), WEIGHT, BIAS,
    )  # fmt: skip
    assert_like_torch(lambda x: F.group_norm(x, groups), lambda x: theirs(x, groups), x_of(shape))


def test_the_variance_keeps_its_digits_beside_a_large_mean():
    x = (np.random.default_rng(0).standard_normal((64, 2, 8, 8)) + 5000).astype("float32")
    y = gl.compile(lambda x: F.batch_norm(x, None, None, training=True))(x)
    exact = (x.astype("float64") - x.mean((0, 2, 3), "float64", keepdims=True)) / x.std(
        (0, 2, 3), dtype="float64", keepdims=True
    )
    np.testing.assert_allclose(y, exact, atol=2e-3)
    assert abs(y.std() - 1) < 1e-4


def layers(torch):
    t = torch.nn
    return {
        "BatchNorm1d of (N, C)": (nn.BatchNorm1d(C), t.BatchNorm1d(C), (5, C)),
        "BatchNorm1d of (N, C, L)": (nn.BatchNorm1d(C, eps=1e-3), t.BatchNorm1d(C, eps=1e-3), (5, C, 4)),
        "BatchNorm2d": (nn.BatchNorm2d(C, momentum=0.3), t.BatchNorm2d(C, momentum=0.3), (3, C, 4, 5)),
        "cumulative": (nn.BatchNorm2d(C, momentum=None), t.BatchNorm2d(C, momentum=None), (3, C, 4, 5)),
        "not affine": (nn.BatchNorm2d(C, affine=False), t.BatchNorm2d(C, affine=False), (3, C, 4, 5)),
        "not tracked": (
            nn.BatchNorm2d(C, track_running_stats=False),
            t.BatchNorm2d(C, track_running_stats=False),
            (3, C, 4, 5),
        ),
        "BatchNorm3d": (nn.BatchNorm3d(C), t.BatchNorm3d(C), (3, C, 2, 3, 2)),
        "InstanceNorm1d": (nn.InstanceNorm1d(C), t.InstanceNorm1d(C), (3, C, 5)),
        "InstanceNorm2d": (
            nn.InstanceNorm2d(C, affine=True, track_running_stats=True),
            t.InstanceNorm2d(C, affine=True, track_running_stats=True),
            (3, C, 4, 5),
        ),
        "GroupNorm": (nn.GroupNorm(3, C), t.GroupNorm(3, C), (3, C, 4, 5)),
    }


class Scaled(nn.Module):
    def __init__(self, norm):
        self.scale = nn.Parameter(np.linspace(0.5, 2, C))
        self.norm = norm

    def forward(self, x):
        return self.norm(x * np.reshape(self.scale, (C,) + (1,) * (x.ndim - 2)))


@pytest.mark.peers
@pytest.mark.parametrize("kind", [
    "BatchNorm1d of (N, C)", "BatchNorm1d of (N, C, L)", "BatchNorm2d", "cumulative", "not affine", "not tracked",
    "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d", "GroupNorm",
])  # fmt: skip
def test_a_trained_layer_has_torchs_weights_and_running_statistics(torch, kind, tmp_path):
    norm, peer, shape = layers(torch)[kind]
    model = Scaled(norm).to("float64")
    peer = peer.double()
    scale = torch.nn.Parameter(torch.linspace(0.5, 2, C, dtype=torch.float64))
    trainer = torch.optim.SGD([scale, *peer.parameters()], lr=0.05)
    batches = [{"x": x_of(shape), "t": RNG.standard_normal(shape)} for _ in range(4)]
    step = gl.compile_step(model, lambda model, b: ((model(b["x"]) - b["t"]) ** 2).mean(), optim.SGD(0.05), batches[0])
    for batch in batches:
        loss = step(batch)
        trainer.zero_grad()
        y = peer(torch.tensor(batch["x"]) * scale.reshape((C,) + (1,) * (len(shape) - 2)))
        expected = ((y - torch.tensor(batch["t"])) ** 2).mean()
        expected.backward()
        trainer.step()
        np.testing.assert_allclose(loss, expected.item(), rtol=1e-9)
    ours = {name.removeprefix("norm."): a for name, a in {**step.parameters(), **step.buffers()}.items()}
    theirs = {"scale": scale.detach(), **peer.state_dict()}
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.numpy().dtype
        np.testing.assert_allclose(ours[name], tensor.numpy(), rtol=1e-9, atol=1e-12)

    predict = step.bind(lambda model, x: model(x))
    peer.eval()
    x = x_of(shape)
    shaped = scale.detach().reshape((C,) + (1,) * (len(shape) - 2))
    np.testing.assert_allclose(predict(x), peer(torch.tensor(x) * shaped).detach().numpy(), rtol=1e-9, atol=1e-12)

    step.save(tmp_path / "a.safetensors")
    again = gl.compile_step(model, lambda model, b: ((model(b["x"]) - b["t"]) ** 2).mean(), optim.SGD(0.05), batches[0])
    again.load(tmp_path / "a.safetensors")
    assert step(batches[0]) == again(batches[0])
    for name, array in step.buffers().items():
        np.testing.assert_array_equal(array, again.buffers()[name])


def image_step(model, batch, **options):
    return gl.compile_step(model, lambda model, x: (model(x) ** 2).mean(), optim.SGD(0.1), batch, **options)


def small():
    return nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())


def test_running_statistics_count_as_state_and_not_as_arena_or_parameters():
    report = gl.plan_step(
        small(), lambda model, x: (model(x) ** 2).mean(), optim.SGD(0.1), gl.spec((4, 3, 5, 5))
    ).report
    assert report.parameter_bytes == 2 * 3 * 4
    # Running mean and variance, the number of batches, the number of steps, the learning rate and the key.
    assert report.state_bytes == 2 * 3 * 4 + 8 + 8 + 16


def test_evaluation_reads_the_running_statistics_and_changes_nothing():
    step = image_step(small(), gl.spec((4, 3, 5, 5)))
    x = RNG.standard_normal((4, 3, 5, 5)).astype("float32")
    step(x)
    before = step.buffers()
    step.bind(lambda model, x: model(x))(x)
    assert all((before[name] == array).all() for name, array in step.buffers().items())
    assert before["0.num_batches_tracked"] == 1


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(3), nn.InstanceNorm2d(3, affine=True, track_running_stats=True)])
def test_an_empty_batch_changes_nothing(layer):
    # The sum of nothing is 0, where the mean would be NaN.
    step = gl.compile_step(layer, lambda model, x: model(x).sum(), optim.SGD(0.1), gl.spec((0, 3, 5, 5)))
    before = {**step.parameters(), **step.buffers()}
    assert step(np.zeros((0, 3, 5, 5), "float32")) == 0
    after = {**step.parameters(), **step.buffers()}
    for name in ("weight", "bias", "running_mean", "running_var"):
        np.testing.assert_array_equal(before[name], after[name])


def test_a_frozen_layer_keeps_its_running_statistics():
    model = small()
    model[0].eval()
    step = image_step(model, gl.spec((4, 3, 5, 5)))
    step(RNG.standard_normal((4, 3, 5, 5)).astype("float32"))
    assert step.buffers()["0.num_batches_tracked"] == 0
    np.testing.assert_array_equal(step.buffers()["0.running_mean"], 0)


@pytest.mark.peers
def test_accumulated_parts_of_a_batch_are_each_normalized_by_themselves(torch):
    def weighted_mean(model, batch):
        return (model(batch["x"]) * batch["w"].reshape(len(batch["w"]), -1)).mean()

    x, w = (RNG.standard_normal((6, 3, 4, 5)).astype("float32") for _ in range(2))
    for momentum in (0.3, None):
        model = nn.Sequential(nn.BatchNorm2d(3, momentum=momentum), nn.Tanh(), nn.BatchNorm2d(3), nn.Flatten())
        batch = {"x": x, "w": w}
        with pytest.warns(UserWarning, match=r"accumulate=3: batch norm at .*test_normalization.*GroupNorm") as told:
            step = gl.compile_step(model, weighted_mean, optim.SGD(1.0), batch, accumulate=3)
        assert len(told) == 1
        for _ in range(2):
            step(batch)
        step({name: array[:3].repeat(3, axis=0) for name, array in batch.items()})  # told once, not again
        norms = (torch.nn.BatchNorm2d(3, momentum=m) for m in (momentum, 0.1))
        peer = torch.nn.Sequential(next(norms), torch.nn.Tanh(), next(norms), torch.nn.Flatten())
        descent = torch.optim.SGD(peer.parameters(), 1.0)
        for given in (x, x, x[:3].repeat(3, axis=0)):
            weights = w if given is x else w[:3].repeat(3, axis=0)
            parts = [peer(torch.tensor(part)) for part in np.split(given, 3)]
            loss = (torch.cat(parts) * torch.tensor(weights).reshape(len(weights), -1)).mean()
            descent.zero_grad()
            loss.backward()
            descent.step()
        ours = {**step.parameters(), **step.buffers()}
        for name, tensor in peer.state_dict().items():
            np.testing.assert_allclose(ours[name], tensor.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_part_that_batch_norm_cannot_take_statistics_of_is_refused():
    for shape, message in (
        ((2, 3), "more than one value for each channel in each of 2 parts of the batch"),
        ((4, 3, 5), "with accumulate=2 there are statistics of each part"),
    ):
        model, sgd, batch = nn.BatchNorm1d(3), optim.SGD(0.1), gl.spec(shape)
        with pytest.raises(gl.ShapeError, match=message):
            gl.plan_step(model, lambda m, x: m(x[: len(x) // 4 or 2]).mean(), sgd, batch, accumulate=2)


def test_a_whole_state_dict_may_be_set():
    step = image_step(small(), gl.spec((4, 3, 5, 5)))
    state = {**step.parameters(), **step.buffers()}
    state = {name: array + 1 for name, array in state.items()}
    step.set_parameters(state)
    for name, array in {**step.parameters(), **step.buffers()}.items():
        np.testing.assert_array_equal(array, state[name])


def test_the_bits_do_not_depend_on_the_threads():
    x = RNG.standard_normal((16, 24, 20, 20)).astype("float32")
    results = []
    for threads in (1, 2, 4):
        model = nn.Sequential(nn.BatchNorm2d(24), nn.ReLU(), nn.GroupNorm(4, 24))
        step = image_step(model, x, threads=threads)
        losses = [step(x) for _ in range(3)]
        results.append((losses, *(a.tobytes() for a in {**step.parameters(), **step.buffers()}.values())))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.BatchNorm2d(3), (4, 5, 2, 2), r"BatchNorm2d: the input is \(N, C, H, W\) with C = 3, got \(4, 5, 2, 2\)"),
        (nn.BatchNorm2d(3), (4, 3), r"BatchNorm2d: the input is \(N, C, H, W\)"),
        (nn.BatchNorm1d(3), (1, 3), r"more than one value for each channel, got \(1, 3\) float32; take a larger batch"),
        (nn.BatchNorm2d(3), (1, 3, 1, 1), "more than one value for each channel"),
        (nn.InstanceNorm2d(3), (2, 3, 1, 1), "more than one value for each image and channel"),
        (nn.GroupNorm(3, 3), (2, 4, 2), r"GroupNorm: the input is \(N, C, ...\) with C = 3"),
    ],
)
def test_what_cannot_be_normalized_is_refused_with_the_users_line(layer, shape, message):
    with pytest.raises(ValueError, match=rf"{message}.*, at .*test_normalization.py:\d+"):
        gl.plan_step(Outer(layer), lambda model, x: model(x).mean(), optim.SGD(0.1), gl.spec(shape))


class Outer(nn.Module):
    def __init__(self, layer):
        self.layer = layer
        self.scale = nn.Parameter(())

    def forward(self, x):
        return self.layer(x) * self.scale


def test_functions_refuse_vectors_of_other_lengths():
    with pytest.raises(ValueError, match="weight has one number for each of 6 channels"):
        F.batch_norm(x_of((2, C, 3)), None, None, np.ones(5), training=True)
    with pytest.raises(TypeError, match="both, or neither"):
        F.batch_norm(x_of((2, C, 3)), MEAN, None)
    with pytest.raises(ValueError, match=r"num_groups 4 does not divide the 6 channels of .*; 1, 2, 3 or 6 would"):
        F.group_norm(x_of((2, C, 3)), 4)
    with pytest.raises(ValueError, match="num_groups 4 does not divide num_channels 6; 1, 2, 3 or 6 would do"):
        nn.GroupNorm(4, 6)
