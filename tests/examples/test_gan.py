"""`examples/gan.py` makes digits, and trains as the same two networks in torch do."""

import gradloom as gl
import numpy as np
import pytest
from gradloom.examples import digit_images, gan


def test_it_learns(capsys):
    figures = gan.main(["--epochs", "8", "--batch-size", "32", "--lr", "2e-3"])
    first, *_, last = (float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()[1:9])
    assert figures["distance"] == pytest.approx(last, abs=0.01)
    assert last < first / 2


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread_for_torch")
def test_it_trains_as_torchs_does(monkeypatch):
    torch = pytest.importorskip("torch")
    T, F = torch.nn, torch.nn.functional
    noise = np.random.default_rng(0).standard_normal((16, gan.NOISE, 1, 1))
    monkeypatch.setattr(gl.random, "normal", lambda shape: noise)

    class GAN(T.Module):
        def __init__(self):
            super().__init__()
            self.generator = T.Sequential(
                T.ConvTranspose2d(gan.NOISE, 16, 2, bias=False),
                T.BatchNorm2d(16),
                T.ReLU(),
                T.ConvTranspose2d(16, 8, 4, 2, 1, bias=False),
                T.BatchNorm2d(8),
                T.ReLU(),
                T.ConvTranspose2d(8, 1, 4, 2, 1, bias=False),
                T.Sigmoid(),
            )
            self.discriminator = T.Sequential(
                T.Conv2d(1, 8, 4, 2, 1),
                T.LeakyReLU(0.2),
                T.Conv2d(8, 16, 4, 2, 1),
                T.LeakyReLU(0.2),
                T.Conv2d(16, 1, 2),
                T.Flatten(0),
            )

    ours, theirs = gan.GAN(side=8, width=8).to("float64"), GAN().double()
    theirs.load_state_dict({name: torch.tensor(a) for name, a in ours.state_dict(3).items()}, strict=True)
    real = digit_images.read()[0]["x"][:64].astype("float64").reshape(4, 16, 1, 8, 8)
    adam = gl.optim.Adam(1e-3, betas=(0.5, 0.999))
    step_d = gl.compile_step(ours, gan.discriminator_loss, adam, real[0], train="discriminator.*", threads=1, seed=3)
    step_g = gl.compile_step(ours, gan.generator_loss, adam, real[0], train="generator.*", share=step_d, threads=1)
    parts = (theirs.discriminator, theirs.generator)
    update_d, update_g = (torch.optim.Adam(part.parameters(), 1e-3, betas=(0.5, 0.999)) for part in parts)

    def judged(images, is_real):
        logits = theirs.discriminator(images)
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, is_real))

    z = torch.tensor(noise)
    for batch in real:
        loss_d = judged(torch.tensor(batch), 1.0) + judged(theirs.generator(z).detach(), 0.0)
        update_d.zero_grad()
        loss_d.backward()
        update_d.step()
        loss_g = judged(theirs.generator(z), 1.0)
        update_g.zero_grad()
        loss_g.backward()
        update_g.step()
        np.testing.assert_allclose([step_d(batch), step_g(batch)], [loss_d.item(), loss_g.item()], rtol=1e-9)
    state = theirs.state_dict()
    for name, array in (step_g.parameters() | step_g.buffers()).items():
        np.testing.assert_allclose(array, state[name].numpy(), rtol=1e-9, atol=1e-9, err_msg=name)
