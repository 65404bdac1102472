"""In one process with PyTorch, which has threads of OpenMP of its own: both go on computing, and the weights of a model
load into the published module. Run by Debian's Python, which has PyTorch (run.sh)."""
import pathlib
import sys

import torch

import eelsvae

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests/fixtures"))
from cvae_pytorch import CVAE3D

film, _ = eelsvae.simulate(shape=(24, 24, 64), energy_offset=700, seed=3)
square = torch.ones(500, 500)
before = square @ square
model = eelsvae.train(film, tiles={"image_size": 8, "sliding_window_stride": 8}, training={"epochs": 1},
                      model={"channels": [4, 8, 8, 16], "hidden": 32, "latent_dim": 4})
found = eelsvae.detect(film, model)
assert torch.equal(square @ square, before)
assert torch.from_numpy(found.expectation.copy()).isfinite().all()
module = CVAE3D(image_size=model.tile_size, energy=len(model.energy), channels=[4, 8, 8, 16], hidden=32, latent=4)
print(module.load_state_dict(model.to_torch_state_dict(), strict=True), "beside PyTorch", torch.__version__)
assert (eelsvae.detect(film, model).scores == found.scores).all()
