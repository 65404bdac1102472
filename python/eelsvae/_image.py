"""Spectrum images: arrays with axes, from files, simulations, other arrays and HyperSpy."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Union

import numpy as np

from . import _engine, _hyperspy
from ._arrays import memory_of, numbers
from ._error import Error
from ._work import Progress, configuration_json, listener, logger


class Axis(NamedTuple):
    """A calibrated axis: the i-th place is at offset + scale * i, in `units` ("eV", "nm"; "": not calibrated)."""

    name: str = ""
    units: str = ""
    offset: float = 0.0
    scale: float = 1.0


class Image:
    """A spectrum image.

    counts: array (y, x, E) of integers or floats, of any layout; it is neither copied nor changed.
    energy_offset: eV, of the first channel. dispersion: eV per channel, greater than 0.
    excluded: array (y, x), not 0 where a pixel is to be left out, whatever its counts are; None: none.
    y, x: the other axes, for maps of results. metadata: a dict that is carried along.
    """

    def __init__(self, counts: Any, energy_offset: float = 0.0, dispersion: float = 1.0, *, excluded: Any = None,
                 y: Axis = Axis("y"), x: Axis = Axis("x"), title: str = "",
                 metadata: Mapping[str, Any] | None = None) -> None:
        array = numbers(counts, "counts")
        if array.ndim != 3:
            raise Error(f"counts: an array of {array.ndim} dimensions; give three, (y, x, E), of a line of "
                                "spectra counts[numpy.newaxis]")
        self.counts: np.ndarray = array
        self.energy_offset = float(energy_offset)
        self.dispersion = float(dispersion)
        self.excluded: np.ndarray | None = None if excluded is None else np.asarray(excluded) != 0
        if self.excluded is not None and self.excluded.shape != array.shape[:2]:
            raise Error(f"excluded: has the shape {self.excluded.shape}; the image has {array.shape[:2]}")
        self.y, self.x = y, x
        self.title = title
        self.metadata: dict[str, Any] = dict(metadata or {})

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pixels along y and x, and channels."""
        return self.counts.shape

    @property
    def energy(self) -> np.ndarray:
        """(E), eV, of the channels' centres."""
        return self.energy_offset + self.dispersion * np.arange(self.shape[2])

    def __repr__(self) -> str:
        y, x, channels = self.shape
        return (f"<eelsvae.Image {self.title!r}, {y} x {x} pixels, {channels} channels from {self.energy_offset:g} eV, "
                f"{self.dispersion:g} eV each, {self.counts.dtype}>")

    def _given(self) -> _engine.GivenImage:
        """As the engine takes it: the very memory, but for what few arrays have to be copied."""
        excluded = None if self.excluded is None else memory_of(np.asarray(self.excluded) != 0)
        return _engine.GivenImage(memory_of(self.counts), self.energy_offset, self.dispersion, excluded)


# What functions take for an image: an Image, the path of a file, an array (y, x, E), or a signal of HyperSpy.
ImageLike = Union[Image, str, "os.PathLike[str]", np.ndarray, Any]


# Keys of the group data that say how a file is to be taken, and what they are where nobody says anything.
_of_files = {"dataset": -1, "axes": "yxE", "swap_axes": False, "energy_offset": None, "dispersion": None, "frame": None}


def without_file_keys(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration for what has been read by it."""
    data = config.get("data")
    if not isinstance(data, dict):  # absent, or a mistake that the engine names
        return config
    return {**config, "data": {key: value for key, value in data.items() if key not in _of_files}}


def file_keys(config: dict[str, Any]) -> dict[str, Any]:
    """The rest of it."""
    data = config.get("data")
    return {"data": {key: data[key] for key in _of_files if key in data}} if isinstance(data, dict) else {}


def as_image(given: ImageLike, settings: str = "{}") -> Image:
    """settings: configuration_json(), of which a file is read by what it says of files. Errors as those of read() and
    Image, and where there is no file that it could speak of."""
    data = json.loads(settings).get("data")
    data = data if isinstance(data, dict) else {}  # else a mistake that the engine names
    said = {key: data[key] for key, usual in _of_files.items() if key in data and data[key] != usual}
    if isinstance(given, (str, os.PathLike)):
        return read(given, data=said)
    if said:
        raise Error(f"data.{next(iter(said))}: says how a file is to be taken, and this image is none; give an "
                    "eelsvae.Image its own energy_offset and dispersion")
    if isinstance(given, Image):
        return given
    if _hyperspy.is_signal(given):
        counts, y, x, energy, title, metadata = _hyperspy.parts_of(given)
        return Image(counts, energy[2], energy[3], y=Axis(*y), x=Axis(*x), title=title, metadata=metadata)
    return Image(given)


def _from_engine(there: _engine.ReadImage) -> Image:
    for note in there.notes:
        logger.info(note)
    y, x, energy = there.axes
    return Image(there.counts, energy[2], energy[3], excluded=there.excluded, y=Axis(*y), x=Axis(*x),
                 title=there.title, metadata=json.loads(there.metadata))


def read(path: str | os.PathLike[str], config: Mapping[str, Any] | None = None, *, progress: Progress = False,
         **configuration: Any) -> Image:
    """The spectrum image of a file, in any of the formats of docs/formats.md: counts are float32 (y, x, E), energies in
    eV, lengths in nm.

    config and keywords: keys of the group data, of files that hold several images or are not calibrated, such as
    data={"dataset": 1} or data={"energy_offset": 420, "dispersion": 0.3}. Error if there is none that can be read.
    """
    json_text = configuration_json(config, configuration)
    return _from_engine(_engine.read(os.fspath(path), json_text, listener(progress)))


def simulate(preset: str = "bfo", shape: tuple[int, int, int] = (96, 96, 256),
             defects: Sequence[str] | None = None, seed: int = 0, *, noise_seed: int | None = None,
             energy_offset: float = 420.0, dispersion: float = 0.3, exposure: float = 1.0,
             anomalies: float = 0.01) -> tuple[Image, np.ndarray]:
    """A simulated specimen with known anomalies, as eelsvae-simulate makes it, and the truth: an array (y, x) of
    booleans, True where a pixel is anomalous.

    shape: pixels along y and x, and channels. defects: `KIND:STRENGTH[:SHAPE[:RADIUS]][@AMOUNT]` of
    docs/specimens.md, such as "fe-shift:1.5:disc:2"; None: Fe lines moved by 2.4 eV in single pixels; empty: none.
    energy_offset: eV; dispersion: eV per channel; exposure: a factor on all counts; anomalies: the share of the
    pixels, from 1 on their number. The same seed gives the same image.
    """
    if len(shape) != 3:
        raise Error(f"shape: has {len(shape)} numbers; give three, pixels along y and x, and channels")
    height, width, channels = shape
    made = _engine.simulate(preset, (height, width, channels), None if defects is None else list(defects), seed,
                            noise_seed, energy_offset, dispersion, exposure, anomalies)
    return _from_engine(made), made.truth.view(bool)
