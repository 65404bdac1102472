import os
import pathlib
import subprocess

import pytest

import eelsvae

AXIS = ["--set", "data.energy_offset=700", "--set", "data.dispersion=0.3"]
TINY = {"tiles": {"image_size": 8, "sliding_window_stride": 8},
        "model": {"channels": [4, 8, 8, 16], "hidden": 32, "latent_dim": 4},
        "training": {"epochs": 2, "batch_size": 2, "validation_fraction": 0.2},
        "preprocess": {"sigma": 0, "xy_window": 1}, "precision": "fp32", "device": "cpu"}


@pytest.fixture(scope="session")
def tiny():
    return TINY


@pytest.fixture(scope="session")
def film():
    return eelsvae.simulate(shape=(24, 24, 64), energy_offset=700, seed=3)[0]


@pytest.fixture(scope="session")
def other():
    return eelsvae.simulate(shape=(32, 32, 64), energy_offset=700, seed=4, defects=["fe-shift:5:disc:2"])[0]


@pytest.fixture(scope="session")
def model(film):
    return eelsvae.train(film, TINY)


@pytest.fixture(scope="session")
def program():
    """Runs one of the programs of the build that the package is made of."""
    build = pathlib.Path(os.environ["EELSVAE_PROGRAMS"])

    def run(name, *arguments):
        done = subprocess.run([build / f"eelsvae-{name}", *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
