"""Models: trained, kept, and handed to PyTorch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import _engine
from ._error import Error
from ._image import ImageLike, as_image
from ._work import Progress, configuration_json, listener

# Types of safetensors; bfloat16, which NumPy does not have, is widened.
_types = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1"}


class Model:
    """What was learnt from an image. It never changes; any number of threads may use it, and it can be pickled."""

    def __init__(self, engine_model: _engine.Model) -> None:
        self._engine = engine_model

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Model:
        """A checkpoint of eelsvae-train or of save(), or the folder of a run."""
        return cls(_engine.Model.open(os.fspath(path)))

    @classmethod
    def from_bytes(cls, content: bytes) -> Model:
        """What bytes() of a model gave, or the content of a checkpoint."""
        return cls(_engine.Model.from_bytes(content))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a checkpoint, all or nothing, which the programs read, too."""
        self._engine.save(os.fspath(path))

    def __bytes__(self) -> bytes:
        return self._engine.content.tobytes()

    def __reduce__(self) -> tuple[Any, ...]:
        return Model.from_bytes, (bytes(self),)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that it was trained with, complete."""
        config: dict[str, Any] = json.loads(self._engine.config)
        return config

    @property
    def tile_size(self) -> int:
        """The side of its tiles, pixels: the least height and width of an image, after binning."""
        return self._engine.tile_size

    @property
    def energy(self) -> np.ndarray:
        """(E), eV: the channels of its spectra, after preprocessing. An image to be searched has to hold them."""
        offset, dispersion, channels = self._engine.energy
        return offset + dispersion * np.arange(channels)

    def to_torch_state_dict(self) -> dict[str, Any]:
        """The weights by the names and shapes of the published PyTorch module, for load_state_dict(): tensors if torch
        can be imported, else arrays."""
        content = self._engine.content
        length = int(content[:8].view("<u8")[0])
        entries = json.loads(content[8:8 + length].tobytes())
        entries.pop("__metadata__", None)
        arrays = {}
        for name, entry in entries.items():
            if name.startswith("optimizer."):
                continue
            first, last = entry["data_offsets"]
            array = np.frombuffer(content[8 + length + first:8 + length + last].tobytes(), _types[entry["dtype"]])
            if entry["dtype"] == "BF16":
                array = (array.astype("<u4") << 16).view("<f4")
            arrays[name] = array.reshape(entry["shape"])
        try:
            import torch
        except ImportError:
            return arrays
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    def __repr__(self) -> str:
        energy = self.energy
        return (f"<eelsvae.Model of {self.tile_size} x {self.tile_size} pixels, {len(energy)} channels from "
                f"{energy[0]:g} eV>")


def train(image: ImageLike, config: Mapping[str, Any] | None = None, *, minutes: float | None = None,
          progress: Progress = False, threads: int = 0, **configuration: Any) -> Model:
    """Trains a model, as eelsvae-train does, until it learns no more; its best state is the model.

    image: an Image, the path of a file, an array (y, x, E) of counts, or a signal of HyperSpy.
    config and keywords: keys of docs/config.md; the defaults are the published network, which takes hours to train on a
    large image. Keys stand in groups, training={"epochs": 5}, or dotted, {"training.epochs": 5}. minutes: it ends after so many. progress: True shows a bar, if tqdm is installed; a
    function progress(stage, done, total) ends the training where it returns something true. threads: of the CPU; 0:
    OpenMP's own setting.
    Error for what cannot be trained on, and where it ended before an epoch was complete.
    """
    settings = configuration_json(config, configuration)
    given = as_image(image, settings)._given()
    trained = _engine.train(given, settings, threads, minutes, listener(progress))
    if trained is None:
        raise Error("no epoch of the training was complete, so there is no model; give it more time")
    return Model(trained)
