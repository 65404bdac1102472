"""Your own scan, cell by cell ("# %%" is a cell's beginning to Jupyter and most editors), or as a script:

    python own_file.py scan.dm4 [MINUTES]
"""
# %% What is in the file
import sys

import numpy as np

import eelsvae

image = eelsvae.read(sys.argv[1])
minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 5
print(image)

# %% Everything is chosen: the configuration, and a model or a baseline
found = eelsvae.detect(image, minutes=minutes, progress=True)
print(found)  # in a notebook, `found` alone shows the map
for choice in found.choices:
    print("chosen:", choice)

# %% What does not fit, and what changed there
for region in found.regions[:5]:
    print(f"{region.pixels} pixels around ({region.y}, {region.x}), score {region.score:.1f}: {region.words}")
np.save("scores.npy", found.scores)
np.save("mask.npy", found.mask)

# %% The spectrum that fits worst, beside what was expected of it
y, x = np.unravel_index(np.nanargmax(found.scores), found.scores.shape)
departs = np.abs(found.observed[y, x] - found.expectation[y, x])
print(f"the worst, ({y}, {x}), departs most at {found.energy[departs.argmax()]:.1f} eV")

# %% By hand: a configuration, a model, and what it finds
model = eelsvae.train(
    image,
    tiles={"image_size": 8, "sliding_window_stride": 4},
    model={"channels": [8, 16, 32, 64], "hidden": 128, "latent_dim": 16},
    preprocess={"sigma": 0, "xy_window": 1},
    training={"epochs": 20, "batch_size": 4},
    minutes=minutes,
)
model.save("model.safetensors")
print(eelsvae.detect(image, model, on_training_image=True, detection={"fdr": 0.01}))
