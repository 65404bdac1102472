"""Scans that are still running: scores while the spectra arrive."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from . import _engine
from ._arrays import memory_of, numbers
from ._detection import Detection
from ._error import Error
from ._image import ImageLike, as_image, without_file_keys
from ._model import Model
from ._work import configuration_json, listener


class State:
    """What a detection measures in an image as a whole: what is expected, the noise, how normal spectra vary and score.

    By it other scans of the specimen are scored as that one was, and one that is still running row by row (Scan). Made
    by State.learn(), by Detection.state, by Scan.state, or by eelsvae-detect, which leaves state.safetensors in its folder.
    """

    def __init__(self, engine: _engine.State) -> None:
        self._engine = engine

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> State:
        """path: the file, or the folder of a detection."""
        return cls(_engine.State.open(os.fspath(path)))

    @classmethod
    def from_bytes(cls, content: bytes) -> State:
        """content: what bytes(state) was."""
        return cls(_engine.State.from_bytes(content))

    @classmethod
    def learn(cls, image: ImageLike, baseline: str = "mean", *, config: Mapping[str, Any] | None = None,
              **configuration: Any) -> State:
        """Fits a baseline, "mean", "pca:auto", "rx:10", to an image and measures the rest in it.

        config and keywords: keys of docs/config.md. detection.score is whitened or learned, without despiking, aligning
        and binning of pixels; Error otherwise.
        """
        settings = configuration_json(config, configuration)
        there = as_image(image, settings)
        return cls(_engine.State.learn(there._given(), baseline, json.dumps(without_file_keys(json.loads(settings)))))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it to a file, all or nothing."""
        self._engine.save(os.fspath(path))

    def __bytes__(self) -> bytes:
        return self._engine.content

    def __reduce__(self) -> tuple[Any, ...]:
        return State.from_bytes, (bytes(self),)

    @property
    def energy(self) -> np.ndarray:
        """(E), eV, of the spectra as they are compared."""
        offset, scale, size = self._engine.energy
        return offset + scale * np.arange(size)

    @property
    def reasons(self) -> list[str]:
        """Why the threshold could not be trusted where the state was measured."""
        return self._engine.reasons

    def __repr__(self) -> str:
        return f"<eelsvae.State: {self._engine.source}, measured in {self._engine.spectra} spectra>"


class Counts(NamedTuple):
    """What became of a scan's spectra so far; excluded pixels are not counted."""

    received: int
    """Taken, each pixel once."""
    repeated: int
    """Came again while their row was open: the last one counts."""
    late: int
    """Came when their row was complete or given up: not taken."""
    missing: int
    """Had not come when their row was given up: excluded from then on."""


class Anomaly(NamedTuple):
    """A spectrum that does not fit."""

    y: int
    x: int
    score: float
    final: bool
    """Whether the score can still change."""
    observed: np.ndarray
    """(E), prepared, at the energies of Scan.state."""
    expectation: np.ndarray
    """(E), what was expected of it."""


class Scan:
    """Scores the spectra of a scan while it is running.

        scan = eelsvae.Scan(state, shape=(210, 210, 1340), energy_offset=420, dispersion=0.3)
        for y, row in enumerate(rows):                 # (x, E)
            final = scan.push(y * 210, row)            # range of rows whose scores are final
            scan.score_provisionally()                 # scores of the rest
            show(scan.scores, scan.threshold)
        found = scan.finish()

    state: a State, or where one lies; of a detection by a model, that has to come, too: model, a Model or where one
    lies, and config of the keys device, precision and detection.batch_size. Instead of a state baseline and
    learn_rows: the scan learns its state from its own
    first rows, and then scores these, too; config and keywords are then those of State.learn(). shape: (y, x, E) of
    the whole scan. energy_offset: eV, of the first channel; dispersion: eV per channel. excluded: array (y, x), not 0
    where nothing is looked at. patience: a row of which spectra are missing is given up when so many rows after it are
    complete. threads: of the CPU; 0: OpenMP's own setting.

    Final scores are bit for bit those of a detection by the state in the whole image. One thread at a time pushes and
    finishes; others may look at it meanwhile (scores, threshold, worst(), ...), and wait until what is at work has ended.
    """

    def __init__(self, state: State | str | os.PathLike[str] | None = None, baseline: str | None = None, *,
                 model: Model | str | os.PathLike[str] | None = None,
                 shape: tuple[int, int, int], energy_offset: float, dispersion: float, learn_rows: int | None = None,
                 excluded: Any = None, patience: int = 2, threads: int = 0, config: Mapping[str, Any] | None = None,
                 **configuration: Any) -> None:
        if (state is None) == (baseline is None):
            raise Error("give one of state and baseline")
        if (baseline is None) != (learn_rows is None):
            raise Error("learn_rows: is how many rows a baseline is learned from; give both, or a state")
        settings = configuration_json(config, configuration)
        if model is not None and state is None:
            raise Error("model: comes with the state of a detection by it; give that, too")
        if state is not None and model is None and json.loads(settings):
            raise Error("config: belongs to the state; leave it out")
        network = model if isinstance(model, Model) or model is None else Model.open(model)
        known = state if isinstance(state, State) or state is None else State.open(state)
        mask = None if excluded is None else np.ascontiguousarray(np.asarray(excluded) != 0).view(np.uint8)
        self._scan = _engine.Scan(None if network is None else network._engine,
                                  None if known is None else known._engine, baseline or "", learn_rows or 0,
                                  json.dumps(without_file_keys(json.loads(settings))), tuple(map(int, shape)),
                                  float(energy_offset), float(dispersion), mask, patience, threads)
        self._listener = listener(False)

    def push(self, first: int, spectra: Any) -> range:
        """Takes spectra (n, E), or one (E), counts, of the pixels first, first + 1, ... in the order y * width + x: rows,
        parts of rows or single spectra, in any order. Returns the rows whose scores became final by it. Error, and nothing
        is taken, for what is no such spectra; where the first rows do not suffice to learn from, the scan ends by it."""
        array = numbers(spectra, "spectra")
        if array.ndim == 1:
            array = array[np.newaxis]
        if array.ndim != 2:
            raise Error(f"spectra: an array of {array.ndim} dimensions; give (n, E)")
        return range(*self._scan.push(int(first), memory_of(array), self._listener))

    def score_provisionally(self) -> range:
        """Scores the complete rows that have no score yet as if the scan ended with them; returns these. For when no
        spectra are waiting: it costs up to three times what a final row does."""
        return range(*self._scan.score_provisionally(self._listener))

    def finish(self) -> Detection:
        """The scan is over, complete or not: what is missing is excluded, and all scores become final."""
        self._scan.finish(self._listener)
        return self.detection()

    def detection(self) -> Detection:
        """What was found so far. Regions have no words, and spectra are not kept. Error while there is no score."""
        return Detection(self._scan.found(), None, None, [])

    @property
    def scores(self) -> np.ndarray:
        """(y, x) float32, as of now; NaN in excluded pixels and where there is no score yet."""
        return self._scan.scores()

    @property
    def threshold(self) -> float:
        """Of the scores so far: provisional until finished. Infinite while there is none."""
        return self._scan.threshold

    @property
    def complete_rows(self) -> int:
        """Rows from 0 on whose spectra are all there, or that were given up."""
        return self._scan.rows[0]

    @property
    def scored_rows(self) -> int:
        """Rows from 0 on that have scores; those from final_rows on are provisional."""
        return self._scan.rows[1]

    @property
    def final_rows(self) -> int:
        """Rows from 0 on whose scores are final."""
        return self._scan.rows[2]

    @property
    def reach(self) -> int:
        """A row's scores are final when so many rows after it are complete; 0 while the state is being learned."""
        return self._scan.rows[3]

    @property
    def counts(self) -> Counts:
        """What became of the spectra."""
        return Counts(*self._scan.counts)

    @property
    def finished(self) -> bool:
        """Whether finish() was called."""
        return self._scan.finished

    @property
    def learning(self) -> bool:
        """Whether the first rows are still being learned from."""
        return self._scan.learning

    @property
    def state(self) -> State:
        """By which it scores, to be kept. Error while it is being learned."""
        return State(self._scan.state)

    def worst(self, most: int = 10) -> list[Anomaly]:
        """The spectra above the threshold that fit worst, the worst first; 64 at most."""
        width = self._scan.shape[1]
        return [Anomaly(pixel // width, pixel % width, score, final, np.array(observed, np.float32),
                        np.array(expected, np.float32))
                for pixel, score, final, observed, expected in self._scan.worst(most)]

    def __repr__(self) -> str:
        height, width = self._scan.shape
        doing = "learning" if self.learning else "finished" if self.finished else "running"
        return (f"<eelsvae.Scan: {height} x {width}, {doing}, {self.complete_rows} rows complete, "
                f"{self.final_rows} final>")
