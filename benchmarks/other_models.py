#!/usr/bin/env python3
"""Other people's kinds of models, small: what each expects of every spectrum of a scan that it is trained on, without labels.

Usage: other_models.py MODEL SCAN.npy EXPECTATION.npy [--steps N] [--seed S] [--set KEY=VALUE ...]     (needs numpy, torch)

SCAN is a cube of counts (y, x, E), or an .npz that holds it as `data`; EXPECTATION gets its size and units, for
`eelsvae-detect SCAN --expectation EXPECTATION.npy`. Every channel is scaled to mean 0 and variance 1 over the scan; the loss is the
mean squared difference of that; Adam at 1e-3, falling to 0 along a cosine. One thread, CPU. MODEL is one of

  autoencoder  1-D convolutions along a single spectrum down to a few numbers and back
  blindspot    2-D convolutions with the channels as features; spectra of blocks are hidden and predicted from what is around them
               (J. Batson, L. Royer, Noise2Self, ICML 2019; A. Krull et al., Noise2Void, CVPR 2019, with single pixels), in four
               passes that hide every pixel once
  diffusion    the same convolutions, told how noisy their input is, which they denoise (J. Ho et al., DDPM, NeurIPS 2020, predicting
               what is clean); a scan is noised in part and denoised back step by step, as in AnoDDPM (J. Wyatt et al., CVPR
               Workshops 2022), but with white noise; the mean of some repetitions
The last line of output is JSON: seconds of CPU time of training and of what comes after.
"""
import argparse
import json
import math
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

def minimize(model, loss_of_step, steps):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of_step().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


class Autoencoder(nn.Module):
    def __init__(self, channels, latent):
        super().__init__()
        eighth = math.ceil(channels / 8)
        self.encoder = nn.Sequential(
            nn.Conv1d(1, 16, 7, 2, 3), nn.SiLU(), nn.Conv1d(16, 32, 5, 2, 2), nn.SiLU(), nn.Conv1d(32, 32, 5, 2, 2), nn.SiLU(),
            nn.Flatten(), nn.Linear(32 * eighth, latent))
        self.decoder = nn.Sequential(
            nn.Linear(latent, 32 * eighth), nn.Unflatten(1, (32, eighth)), nn.Upsample(scale_factor=2), nn.Conv1d(32, 32, 5, 1, 2),
            nn.SiLU(), nn.Upsample(scale_factor=2), nn.Conv1d(32, 16, 5, 1, 2), nn.SiLU(), nn.Upsample(scale_factor=2),
            nn.Conv1d(16, 1, 7, 1, 3))

    def forward(self, spectra):  # (N, E)
        return self.decoder(self.encoder(spectra[:, None]))[:, 0, :spectra.shape[1]]


def autoencoder(cube, steps, latent=4, batch=128):
    spectra = cube.flatten(1).T.contiguous()  # (pixels, E)
    model = Autoencoder(spectra.shape[1], latent)

    def loss():
        some = spectra[torch.randint(len(spectra), (batch,))]
        return functional.mse_loss(model(some), some)

    minimize(model, loss, steps)
    return lambda: torch.cat([model(part) for part in spectra.split(1024)]).T.reshape(cube.shape)


class Spatial(nn.Module):
    """(N, E + 1, y, x) to (N, E, y, x); the last channel says what is hidden, or how noisy the input is. Sees 15 pixels far."""

    def __init__(self, channels, width):
        super().__init__()
        self.enter, self.leave = nn.Conv2d(channels + 1, width, 1), nn.Conv2d(width, channels, 1)
        self.inner = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in (1, 2, 4, 1, 2, 4, 1))

    def forward(self, values, told):
        hidden = self.enter(torch.cat([values, told], dim=1))
        for layer in self.inner:
            hidden = hidden + layer(functional.silu(hidden))
        return self.leave(hidden)


def patches(cube, size, number):
    """Random squares of the cube (E, y, x), turned and mirrored at random: (number, E, size, size)."""
    taken = []
    for _ in range(number):
        y, x = (int(torch.randint(n - size + 1, ())) for n in cube.shape[1:])
        patch = cube[:, y:y + size, x:x + size]
        patch = torch.rot90(patch, int(torch.randint(4, ())), (1, 2))
        taken.append(patch.flip(2) if torch.rand(()) < 0.5 else patch)
    return torch.stack(taken)


def hidden_blocks(shape, block, y, x):
    """Ones (1, 1, *shape) in squares of that side, as far apart as they are wide: a quarter of the pixels."""
    rows, columns = ((((torch.arange(n) + offset) // block) % 2 == 0).float() for n, offset in zip(shape, (y, x)))
    return (rows[:, None] * columns)[None, None]


def blindspot(cube, steps, block=5, width=64, patch=32, batch=2):
    model = Spatial(len(cube), width)

    def predicted(values, hidden):
        return model(values * (1 - hidden), hidden.expand(len(values), -1, -1, -1))

    def loss():
        values = patches(cube, patch, batch)
        hidden = hidden_blocks(values.shape[2:], block, *torch.randint(2 * block, (2,)).tolist())
        return ((predicted(values, hidden) - values).square() * hidden).sum() / (hidden.sum() * batch * len(cube))

    def expectation():
        total = torch.zeros_like(cube)
        for y in (0, block):
            for x in (0, block):
                hidden = hidden_blocks(cube.shape[1:], block, y, x)
                total += (predicted(cube[None], hidden) * hidden)[0]
        return total

    minimize(model, loss, steps)
    return expectation


def kept(when):
    """What is left of the variance of the signal at a time from 0 (all) to 1 (none): the cosine of Nichol and Dhariwal (2021)."""
    return torch.cos(torch.as_tensor(when) * (0.995 * math.pi / 2)).square()


def diffusion(cube, steps, back=0.7, denoising_steps=10, repetitions=4, width=64, patch=32, batch=2):
    model = Spatial(len(cube), width)

    def clean(noisy, when):
        told = (2 * torch.as_tensor(when) - 1).reshape(-1, 1, 1, 1).expand(len(noisy), 1, *noisy.shape[2:])
        return model(noisy, told.float())

    def loss():
        values = patches(cube, patch, batch)
        when = torch.rand(batch, 1, 1, 1)
        noisy = kept(when).sqrt() * values + (1 - kept(when)).sqrt() * torch.randn_like(values)
        return functional.mse_loss(clean(noisy, when), values)

    def denoised():
        times = torch.linspace(back, 0, denoising_steps + 1)
        now = kept(times[0]).sqrt() * cube[None] + (1 - kept(times[0])).sqrt() * torch.randn_like(cube[None])
        for t, s in zip(times[:-1], times[1:]):  # a draw of what was at s, given what is at t and what seems clean (DDPM, 6 and 7)
            here, there = kept(t), kept(s)
            step = here / there
            mean = (step.sqrt() * (1 - there) * now + there.sqrt() * (1 - step) * clean(now, t)) / (1 - here)
            now = mean + ((1 - there) * (1 - step) / (1 - here)).sqrt() * torch.randn_like(now)
        return now[0]

    minimize(model, loss, steps)
    return lambda: sum(denoised() for _ in range(repetitions)) / repetitions


MODELS = {"autoencoder": autoencoder, "blindspot": blindspot, "diffusion": diffusion}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("scan")
    parser.add_argument("expectation")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="a model's keyword, in JSON")
    options = parser.parse_args()
    settings = {key: json.loads(value) for key, value in (word.split("=") for word in options.set)}
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    scan = np.load(options.scan)
    counts = (scan["data"] if options.scan.endswith(".npz") else scan).astype(np.float64)
    mean, spread = counts.mean(axis=(0, 1)), np.maximum(counts.std(axis=(0, 1)), 1e-9)
    cube = torch.from_numpy(((counts - mean) / spread).astype(np.float32)).permute(2, 0, 1).contiguous()  # (E, y, x)
    began = time.process_time()
    expectation = MODELS[options.model](cube, options.steps, **settings)
    trained = time.process_time()
    with torch.no_grad():
        result = expectation().permute(1, 2, 0).numpy()
    np.save(options.expectation, (result * spread + mean).astype(np.float32))
    print(json.dumps({"training_cpu_seconds": trained - began, "expecting_cpu_seconds": time.process_time() - trained}))


if __name__ == "__main__":
    main()
