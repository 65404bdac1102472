"""Scores in LiberTEM and LiberTEM-live; needs the package libertem.

    from eelsvae.libertem import AnomalyUDF
    udf = AnomalyUDF("found/", energy_offset=420, dispersion=0.3, rows=(120, 136))
    for part in ctx.run_udf_iter(dataset=acquisition, udf=udf):
        show(part.buffers[0]["scores"].data, part.buffers[0]["threshold"].data)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from libertem.udf import UDF

from ._error import Error
from ._model import Model
from ._scan import Scan, State

__all__ = ["AnomalyUDF"]


class AnomalyUDF(UDF):
    """Scores the spectra of a scan (y, x) of LiberTEM while its partitions arrive.

    state and model, or baseline and learn_rows, energy_offset, dispersion, threads, config: as for eelsvae.Scan; energies
    are those of the frames' channels. Frames are spectra (E), or images whose energy_axis (-1 or 0) is energy, and which
    are summed over the other axis, from rows[0] to before rows[1] (None: over all of it). provisional: whether rows whose
    neighbours are still to come have scores, too, when results are asked for.

    Results, for the scan or its region of interest: "scores", float32, NaN where there is none yet, or for good (a
    spectrum without counts); "final", whether a score stays as it is; "threshold", of the scores so far. What is outside
    of the region of interest is excluded. `scan` is the eelsvae.Scan of the last run, which knows the spectra that fit
    worst and is finished when all have come.

    Workers sum their frames; the main node scores, in the order of the scan: a partition that comes before earlier ones
    waits for these, in memory. So the scores are those of a Scan that is given the same spectra, bit for bit, whatever
    executor and partitions there are. An error, of energies that are not the state's for one, comes before the first
    frame. The executor "delayed" has no main node that merges, and is refused.
    """

    def __init__(self, state: State | str | os.PathLike[str] | None = None, *, energy_offset: float, dispersion: float,
                 model: Model | str | os.PathLike[str] | None = None, baseline: str | None = None,
                 learn_rows: int | None = None, rows: tuple[int, int] | None = None, energy_axis: int = -1,
                 provisional: bool = True, threads: int = 0, config: Mapping[str, Any] | None = None) -> None:
        if energy_axis not in (-1, 0):
            raise Error(f"energy_axis: is {energy_axis}; give -1, the last one of a frame, or 0, the first")
        if isinstance(state, (str, os.PathLike)):
            state = State.open(state)
        if isinstance(model, (str, os.PathLike)):
            model = Model.open(model)
        # LiberTEM makes another one of these on every worker, which needs no state.
        super().__init__(energy_offset=energy_offset, dispersion=dispersion, rows=rows, energy_axis=energy_axis,
                         provisional=provisional)
        self._how = dict(state=state, model=model, baseline=baseline, learn_rows=learn_rows, threads=threads, config=config)
        self._scan: Scan | None = None

    def copy(self) -> AnomalyUDF:
        """As LiberTEM asks, on the main node."""
        return type(self)(**self._kwargs, **self._how)

    @property
    def scan(self) -> Scan:
        """Of the last run. Error before the first one."""
        if self._scan is None:
            raise Error("nothing was run yet; give this UDF to LiberTEM's run_udf or run_udf_iter")
        return self._scan

    def _channels(self) -> int:
        shape = tuple(self.meta.dataset_shape.sig)
        if len(shape) == 1:
            return shape[0]
        if len(shape) != 2:
            raise Error(f"frames of the shape {shape}; give spectra (E) or images")
        return shape[self.params.energy_axis]

    def _summed(self) -> slice | None:
        """Of the axis over which frames are summed; None: frames are spectra."""
        rows = self.params.rows
        shape = tuple(self.meta.dataset_shape.sig)
        if len(shape) == 1:
            if rows is not None:
                raise Error("rows: the frames are spectra already; leave it out")
            return None
        across = shape[0 if self.params.energy_axis == -1 else 1]
        if rows is None:
            return slice(0, across)
        first, end = rows
        if not 0 <= first < end <= across:
            raise Error(f"rows: from {first} to before {end}; a frame has {across}, give 0 <= first < end <= {across}")
        return slice(first, end)

    def get_result_buffers(self) -> dict[str, Any]:
        """As LiberTEM asks. The main node would keep the spectra of the whole scan; it takes them from merge() instead."""
        kept = self._channels() if self.meta.slice is not None else 0
        return {"scores": self.buffer("nav", dtype="float32", use="result_only"),
                "final": self.buffer("nav", dtype="bool", use="result_only"),
                "threshold": self.buffer("single", dtype="float64", use="result_only"),
                "spectra": self.buffer("nav", extra_shape=(kept,), dtype="float32", use="private"),
                "first": self.buffer("single", dtype="int64", use="private")}

    def preprocess(self) -> None:
        """As LiberTEM asks: of a partition on its worker, of all on the main node."""
        if self.meta.slice is not None:
            self.results.first[:] = self.meta.slice.origin[0]
            return
        nav = tuple(self.meta.dataset_shape.nav)
        if len(nav) != 2:
            raise Error(f"a scan of the shape {nav}; scores need neighbours: give nav_shape=(y, x) to LiberTEM")
        self._summed()
        roi = self.meta.roi
        if roi is not None and not isinstance(roi, np.ndarray):
            roi = roi.todense()  # it may be sparse
        self._scan = Scan(**self._how, shape=(*nav, self._channels()), energy_offset=self.params.energy_offset,
                          dispersion=self.params.dispersion, excluded=None if roi is None else ~roi)
        self._pixels = np.arange(nav[0] * nav[1]) if roi is None else np.flatnonzero(roi)
        self._waiting: dict[int, np.ndarray] = {}
        self._taken = 0

    def process_frame(self, frame: np.ndarray) -> None:
        """As LiberTEM asks, on a worker."""
        summed = self._summed()
        # Sums of counts are exact in double precision, in whatever order; the engine keeps single precision.
        if summed is None:
            self.results.spectra[:] = frame
        elif self.params.energy_axis == -1:
            self.results.spectra[:] = frame[summed].sum(axis=0, dtype=np.float64)
        else:
            self.results.spectra[:] = frame[:, summed].sum(axis=1, dtype=np.float64)

    def merge(self, dest: Any, src: Any) -> None:
        """As LiberTEM asks, on the main node."""
        self._waiting[int(src.first[0])] = src.spectra
        while (spectra := self._waiting.pop(self._taken, None)) is not None:
            pixels = self._pixels[self._taken:self._taken + len(spectra)]
            self._taken += len(spectra)
            breaks = [0, *(np.flatnonzero(np.diff(pixels) != 1) + 1), len(pixels)]
            for begin, end in zip(breaks, breaks[1:]):
                if end > begin:
                    self._scan.push(pixels[begin], spectra[begin:end])
        if self._taken == len(self._pixels) and not self._scan.finished:
            self._scan.finish()

    def merge_all(self, ordered_results: Any) -> Any:
        """As LiberTEM asks of what runs later."""
        raise Error("scores need their neighbours, which the executor \"delayed\" does not bring together; take another one")

    def get_results(self) -> dict[str, np.ndarray]:
        """As LiberTEM asks."""
        scan = self._scan
        if self.params.provisional and not scan.finished:
            scan.score_provisionally()
        scores = scan.scores
        final = np.arange(scores.size) < scan.final_rows * scores.shape[1]
        return {"scores": scores.ravel()[self._pixels], "final": final[self._pixels],
                "threshold": np.array([scan.threshold])}
