"""Programs of several losses over one model or more, in float64: each as in PyTorch, to rounding."""

import gradloom as gl
import numpy as np
import pytest
from gradloom import nn

pytestmark = pytest.mark.peers

RNG = np.random.default_rng(3)
X, Z = RNG.normal(size=(8, 4)), RNG.normal(size=(8, 2))
LABELS = RNG.integers(0, 3, 8)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def twin(torch, module):
    """The same layers in PyTorch, in float64."""
    made = {
        nn.Linear: lambda m: torch.nn.Linear(m.in_features, m.out_features),
        nn.Tanh: lambda m: torch.nn.Tanh(),
        nn.ReLU: lambda m: torch.nn.ReLU(),
        nn.BatchNorm1d: lambda m: torch.nn.BatchNorm1d(m.num_features),
    }
    peer = torch.nn.Module()
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential):
            setattr(peer, name, torch.nn.Sequential(*(made[type(layer)](layer) for layer in child)))
        else:
            setattr(peer, name, made[type(child)](child))
    return peer.double()


def started(torch, module, step):
    peer = twin(torch, module)
    peer.load_state_dict({name: torch.from_numpy(array) for name, array in step.state_dict().items()}, strict=True)
    return peer


def agree(step, peer, tolerance=1e-10):
    for name, tensor in peer.state_dict().items():
        np.testing.assert_allclose(
            step.state_dict()[name], tensor.numpy(), rtol=tolerance, atol=tolerance, err_msg=name
        )


# ---- a generator and a discriminator, in one model and in two


def generator():
    return nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))


def discriminator():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))


class Gan(nn.Module):
    def __init__(self):
        self.generator, self.discriminator = generator(), discriminator()
        self.to("float64")


class Critic(nn.Module):
    """The discriminator alone, which is given samples."""

    def __init__(self):
        self.discriminator = discriminator()
        self.to("float64")


def fools(model, z):
    return nn.softplus(-model.discriminator(model.generator(z))).mean()


def judges(model, batch):
    fake = gl.stop_gradient(model.generator(batch["z"])) if "z" in batch else batch["fake"]
    return (nn.softplus(-model.discriminator(batch["x"])) + nn.softplus(model.discriminator(fake))).mean()


ONE, OTHER = gl.optim.Adam(3e-2, betas=(0.5, 0.9)), gl.optim.RMSprop(1e-2)


def test_a_gan_in_one_model_is_that_of_torch(torch):
    step_d = gl.compile_step(Gan(), judges, ONE, {"x": X, "z": Z}, train="discriminator.*")
    step_g = gl.compile_step(Gan(), fools, OTHER, Z, train="generator.*", share=step_d)
    peer = started(torch, Gan(), step_d)
    opt_d = torch.optim.Adam(peer.discriminator.parameters(), 3e-2, betas=(0.5, 0.9))
    opt_g = torch.optim.RMSprop(peer.generator.parameters(), 1e-2)
    softplus = torch.nn.functional.softplus
    for i in range(5):
        x, z = np.roll(X, i, 0), np.roll(Z, i, 0)
        tx, tz = torch.from_numpy(x), torch.from_numpy(z)
        fake = peer.generator(tz).detach()
        loss_d = (softplus(-peer.discriminator(tx)) + softplus(peer.discriminator(fake))).mean()
        opt_d.zero_grad(), loss_d.backward(), opt_d.step()
        loss_g = softplus(-peer.discriminator(peer.generator(tz))).mean()
        opt_g.zero_grad(), loss_g.backward(), opt_g.step()
        np.testing.assert_allclose(step_d({"x": x, "z": z}), loss_d.item(), rtol=1e-10)
        np.testing.assert_allclose(step_g(z), loss_g.item(), rtol=1e-10)
        agree(step_g, peer)
        agree(step_d, peer)


def test_a_gan_in_two_models_that_share_by_name_is_that_in_one():
    step_d = gl.compile_step(Gan(), judges, ONE, {"x": X, "z": Z}, train="discriminator.*")
    step_g = gl.compile_step(Gan(), fools, OTHER, Z, train="generator.*", share=step_d)
    alone = gl.compile_step(Critic(), judges, ONE, {"x": X, "fake": X})
    makes = gl.compile_step(Gan(), fools, OTHER, Z, train="generator.*", share=alone)
    sample = makes.bind(lambda model, z: model.generator(z), training=True)
    for _ in range(4):
        np.testing.assert_allclose(alone({"x": X, "fake": sample(Z)}), step_d({"x": X, "z": Z}), rtol=1e-12)
        np.testing.assert_allclose(makes(Z), step_g(Z), rtol=1e-12)
    for name, array in step_g.state_dict().items():
        np.testing.assert_allclose(makes.state_dict()[name], array, rtol=1e-10, atol=1e-12)


# ---- a policy and a value on one trunk


class ActorCritic(nn.Module):
    def __init__(self):
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.policy, self.value = nn.Linear(6, 3), nn.Linear(6, 1)
        self.to("float64")


def test_an_actor_and_a_critic_on_one_trunk_are_those_of_torch(torch):
    def actor(model, batch):
        log_p = nn.log_softmax(model.policy(model.trunk(batch["state"])), axis=-1)
        chosen = np.take_along_axis(log_p, batch["action"][:, None], axis=-1)[:, 0]
        return -(chosen * batch["advantage"]).mean() + 0.01 * (np.exp(log_p) * log_p).sum(-1).mean()

    def critic(model, batch):
        return ((model.value(model.trunk(batch["state"]))[:, 0] - batch["reward"]) ** 2).mean()

    reward = RNG.normal(size=8)
    of_actor = {"state": X, "action": LABELS, "advantage": reward}
    of_critic = {"state": X, "reward": reward}
    step_a = gl.compile_step(ActorCritic(), actor, gl.optim.Adam(1e-2), of_actor, train=["trunk.*", "policy.*"])
    step_c = gl.compile_step(
        ActorCritic(), critic, gl.optim.SGD(1e-2), of_critic, train=["trunk.*", "value.*"], share=step_a
    )
    values = step_c.bind(lambda model, state: model.value(model.trunk(state))[:, 0])
    peer = started(torch, ActorCritic(), step_a)
    opt_a = torch.optim.Adam([*peer.trunk.parameters(), *peer.policy.parameters()], 1e-2)
    opt_c = torch.optim.SGD([*peer.trunk.parameters(), *peer.value.parameters()], 1e-2)
    tx, action, tr = torch.from_numpy(X), torch.from_numpy(LABELS), torch.from_numpy(reward)
    for _ in range(5):
        advantage = reward - values(X)
        log_p = torch.log_softmax(peer.policy(peer.trunk(tx)), -1)
        chosen = log_p.gather(1, action[:, None])[:, 0]
        loss_a = -(chosen * torch.from_numpy(advantage)).mean() + 0.01 * (log_p.exp() * log_p).sum(-1).mean()
        opt_a.zero_grad(), opt_c.zero_grad(), loss_a.backward(), opt_a.step()
        loss_c = ((peer.value(peer.trunk(tx))[:, 0] - tr) ** 2).mean()
        opt_a.zero_grad(), opt_c.zero_grad(), loss_c.backward(), opt_c.step()
        np.testing.assert_allclose(step_a({**of_actor, "advantage": advantage}), loss_a.item(), rtol=1e-9)
        np.testing.assert_allclose(step_c(of_critic), loss_c.item(), rtol=1e-9)
        agree(step_a, peer)


# ---- forward-forward: each layer has a loss of its own


class Layers(nn.Module):
    def __init__(self):
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 5))
        self.to("float64")


def goodness_loss(module, relu, softplus, stop, i):
    """Hinton 2022, "The Forward-Forward Algorithm": layer i alone learns to tell good data from bad."""

    def goodness(layers, x):
        for k in range(i + 1):
            x = relu(layers[k](stop(x) / ((stop(x) ** 2).sum(-1) ** 0.5 + 1e-8)[:, None]))
        return (x**2).mean(-1)

    def loss(model, batch):
        good, bad = goodness(model.layers, batch["good"]), goodness(model.layers, batch["bad"])
        return (softplus(1.0 - good) + softplus(bad - 1.0)).mean()

    return loss


def test_forward_forward_is_that_of_torch(torch):
    batch = {"good": X, "bad": X[::-1] * np.array([1, -1, 1, 1])}
    steps = []
    for i in range(3):
        loss = goodness_loss(nn, nn.relu, nn.softplus, gl.stop_gradient, i)
        share = steps[-1] if steps else None
        steps.append(gl.compile_step(Layers(), loss, gl.optim.Adam(3e-2), batch, train=f"layers.{i}.*", share=share))
    peer = started(torch, Layers(), steps[0])
    optimizers = [torch.optim.Adam(peer.layers[i].parameters(), 3e-2) for i in range(3)]
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in batch.items()}
    softplus = torch.nn.functional.softplus
    for _ in range(4):
        for i, (step, optimizer) in enumerate(zip(steps, optimizers)):
            loss = goodness_loss(torch, torch.relu, softplus, lambda t: t.detach(), i)(peer, tensors)
            optimizer.zero_grad(), loss.backward(), optimizer.step()
            np.testing.assert_allclose(step(batch), loss.item(), rtol=1e-9)
    for step in steps:
        agree(step, peer)


# ---- contrastive pairs with a target that moves after the encoder


class Pair(nn.Module):
    def __init__(self):
        self.online = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
        self.target = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
        self.to("float64")


def follow(model, rate):
    ours = model.online.state_dict()
    moved = {name: (1 - rate) * t + rate * ours[name] for name, t in model.target.state_dict().items() if t.ndim}
    model.target.load_state_dict(moved, strict=False)


def contrastive(model, batch):
    query, key = model.online(batch["a"]), gl.stop_gradient(model.target(batch["b"]))
    return nn.cross_entropy(query @ key.T / 0.5, np.arange(8))


def in_step(model, batch):
    loss = contrastive(model, batch)
    follow(model, 0.1)
    return loss


def test_contrastive_pairs_with_a_moving_target_are_those_of_torch(torch):
    batch = {"a": X, "b": X + 0.1 * RNG.normal(size=X.shape)}
    step = gl.compile_step(Pair(), contrastive, gl.optim.SGD(0.1, momentum=0.9), batch, train="online.*")
    copy, move = step.bind(lambda m: m.target.load_state_dict(m.online.state_dict()) and None, follow)
    copy()
    start = step.state_dict()
    assert all(np.array_equal(start[n], start[n.replace("online", "target")]) for n in start)
    peer = started(torch, Pair(), step)
    optimizer = torch.optim.SGD(peer.online.parameters(), 0.1, momentum=0.9)
    a, b = torch.from_numpy(batch["a"]), torch.from_numpy(batch["b"])
    for _ in range(4):
        loss = torch.nn.functional.cross_entropy(peer.online(a) @ peer.target(b).detach().T / 0.5, torch.arange(8))
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        with torch.no_grad():
            for t, o in zip(peer.target.state_dict().values(), peer.online.state_dict().values()):
                if t.ndim:
                    t.lerp_(o, 0.1)
        np.testing.assert_allclose(step(batch), loss.item(), rtol=1e-9)
        move(0.1)
        agree(step, peer)
    # The same within the step, where the target moves after the encoder as it was before.
    whole = gl.compile_step(Pair(), in_step, gl.optim.SGD(0.0), batch, train="online.*")
    whole.load_state_dict(start)
    whole.load_state_dict({n: a + 1 for n, a in start.items() if n.startswith("online.") and a.ndim}, strict=False)
    whole(batch)
    for name in ("0.weight", "3.bias"):
        expected = 0.9 * start[f"target.{name}"] + 0.1 * (start[f"online.{name}"] + 1)
        np.testing.assert_allclose(whole.state_dict()[f"target.{name}"], expected, rtol=1e-12)
