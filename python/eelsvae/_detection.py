"""Detections: which spectra do not fit, and what changed in them."""

from __future__ import annotations

import html
import json
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _engine, _hyperspy
from ._error import Error
from ._image import Axis, Image, ImageLike, as_image, file_keys, without_file_keys
from ._model import Model
from ._picture import outlined_map
from ._work import Progress, configuration_json, listener

if TYPE_CHECKING:
    from ._scan import State


class Region(NamedTuple):
    """Anomalous pixels that touch each other, by edge or by corner."""

    pixels: int
    """How many."""
    y: int
    """Of the pixel with the highest score, in the maps."""
    x: int
    """The same."""
    score: float
    """The highest."""
    words: str
    """What changed there, such as "Fe L3 moved by +1.2 ± 0.3 eV"; "" if that was not sought."""


def _in_place(axis: tuple[str, str, float, float], along: Axis) -> Axis:
    """Of an axis in pixels of the image, which is cropped and binned, what it is in the image's units."""
    return Axis(along.name, along.units, along.offset + axis[2] * along.scale, axis[3] * along.scale)


class Detection:
    """What was found in an image. Maps are arrays (y, x), of the image's pixels but for cropping and binning."""

    def __init__(self, found: _engine.Found, image: Image | None, model: Model | None, choices: list[str]) -> None:
        """image: what was given; None: a file, whose axes and title the engine has."""
        self._found = found
        y, x, energy = found.axes
        self.y: Axis = Axis(*y) if image is None else _in_place(y, image.y)
        """Of the maps, in the image's units."""
        self.x: Axis = Axis(*x) if image is None else _in_place(x, image.x)
        """Of the maps, in the image's units."""
        self._energy = Axis(*energy)
        self.title: str = found.title if image is None else image.title
        """The image's."""
        self.model = model
        """The model that looked, or that was trained in vain where everything was chosen; None: a baseline alone."""
        self.choices = choices
        """What was chosen where nothing was given, and why."""
        self.scores: np.ndarray = found.scores
        """(y, x) float32, larger fits worse; NaN in excluded pixels."""
        self.mask: np.ndarray = found.mask.view(bool)
        """(y, x) bool, True where the score is above the threshold."""
        self.threshold: float = found.threshold
        """Above it a spectrum does not fit."""
        self.reasons: list[str] = found.reasons
        """Why the threshold is not to be trusted, each with what to do about it."""
        self.trusted: bool = not self.reasons
        """Whether nothing speaks against the threshold."""
        self.regions: list[Region] = [Region(*region) for region in found.regions]
        """The highest score first."""
        self.summary: dict[str, Any] = json.loads(found.summary)
        """All that eelsvae-detect writes into summary.json."""

    @property
    def energy(self) -> np.ndarray:
        """(E), eV, of the spectra that were compared."""
        return self._energy.offset + self._energy.scale * np.arange(self._found.channels)

    @property
    def observed(self) -> np.ndarray:
        """(y, x, E) float32: the spectra that were compared, after preprocessing, which scales counts; 0 in excluded
        pixels. Error with keep_spectra=False."""
        return self._found.observed

    @property
    def expectation(self) -> np.ndarray:
        """(y, x, E) float32: what was expected of them, in the same units."""
        return self._found.expected

    @property
    def state(self) -> State:
        """What was measured in the image, to score other scans by (Scan). Error where that cannot be kept."""
        from ._scan import State
        return State(self._found.state)

    def to_hyperspy(self) -> dict[str, Any]:
        """Signals of HyperSpy with axes: Signal2D "scores" and "mask" and, with keep_spectra, Signal1D "observed" and
        "expectation"."""
        kept = {"scores": self.scores, "mask": self.mask}
        if self._found.kept:
            kept.update(observed=self.observed, expectation=self.expectation)
        axes = [self.y, self.x, self._energy]
        return {name: _hyperspy.signal_of(array, axes, f"{self.title} {name}".strip())
                for name, array in kept.items()}

    def _told(self) -> str:
        count, scored = int(self.mask.sum()), int(np.isfinite(self.scores).sum())
        return f"{count} of {scored} spectra do not fit (score above {self.threshold:.4g})"

    def __repr__(self) -> str:
        trust = "" if self.trusted else ", not to be trusted: " + "; ".join(self.reasons)
        return f"<eelsvae.Detection: {self._told()}, in {len(self.regions)} regions{trust}>"

    def _repr_html_(self) -> str:
        colours = np.frombuffer(self._found.colours, np.uint8).reshape(*self.scores.shape, 3)
        doubts = "".join(f"<p>Not to be trusted: {html.escape(reason)}</p>" for reason in self.reasons)
        shown = self.regions[:10]
        rows = "".join(f"<tr><td>{region.score:.4g}</td><td>{region.pixels}</td><td>{region.y}, {region.x}</td>"
                       f"<td style='text-align:left'>{html.escape(region.words)}</td></tr>" for region in shown)
        table = ("<table><tr><th>score</th><th>pixels</th><th>y, x</th><th style='text-align:left'>what changed</th>"
                 f"</tr>{rows}</table>") if shown else ""
        more = len(self.regions) - len(shown)
        rest = f"<p>and {more} more</p>" if more > 0 else ""
        return (f"<div><p><b>{html.escape(self.title)}</b> {html.escape(self._told())}</p>{doubts}"
                f"<img style='image-rendering:pixelated' alt='map of scores, what does not fit outlined' "
                f"src='{outlined_map(colours, self.mask)}'>{table}{rest}</div>")


class Session:
    """Looks for anomalies in one image after the other, by a model or by a baseline, one thread at a time.

    model: a Model, or where one lies. baseline: "mean", "pca:auto", "pca:5", "rx:auto" or "rx:10", fitted to each
    image, or to another one, `fit`, as by eelsvae-detect's --fit: what config crops and excludes is not of that one.
    state: a State, or where one lies: images are scored as the one was in which it was measured, by the same baseline,
    noise and threshold, as by eelsvae-detect's --state; if that detection had a model, beside this one.
    config and keywords: keys of docs/config.md; with a model those that speak of detections, detection.*,
    data.exclude, device, precision, preprocess.crop_y, crop_x and set_aside; with a state data.exclude,
    preprocess.crop_y, crop_x, detection.fdr, threshold, elements, batch_size, device and precision. Of a file, too,
    how it is taken (data.dataset, axes, ...), otherwise as the model's own image was. on_training_image: the images are the very
    one that the model was trained on. keep_spectra: whether detections keep their spectra. threads: of the CPU; 0:
    OpenMP's own setting.
    """

    def __init__(self, model: Model | str | os.PathLike[str] | None = None, baseline: str | None = None, *,
                 state: State | str | os.PathLike[str] | None = None, fit: ImageLike | None = None,
                 config: Mapping[str, Any] | None = None, on_training_image: bool = False, keep_spectra: bool = True, threads: int = 0,
                 **configuration: Any) -> None:
        if state is not None and baseline is not None:
            raise Error("state: has a baseline of its own; leave the other out")
        if state is None and (model is None) == (baseline is None):
            raise Error("give one of model, baseline and state")
        self.model = model if isinstance(model, Model) or model is None else Model.open(model)
        if fit is not None and baseline is None:
            raise Error("fit: is for a baseline; a model was fitted when it was trained")
        self._settings = configuration_json(config, configuration)
        normal = None if fit is None else as_image(fit, self._settings)._given()
        normal_file = os.fspath(fit) if isinstance(fit, (str, os.PathLike)) else ""
        if isinstance(state, (str, os.PathLike)):
            from ._scan import State
            state = State.open(state)
        # How a file is taken is not the affair of detections.
        groups = json.loads(self._settings)
        self._how_to_read = json.dumps(file_keys(groups))
        self._session = _engine.Session(None if self.model is None else self.model._engine,
                                        None if state is None else state._engine, baseline or "",
                                        json.dumps(without_file_keys(groups)), threads, on_training_image,
                                        keep_spectra, normal, normal_file)

    def detect(self, image: ImageLike, *, progress: Progress = False) -> Detection:
        """What does not fit in this image; see eelsvae.detect()."""
        if isinstance(image, (str, os.PathLike)):
            found = self._session.detect_file(os.fspath(image), self._how_to_read, listener(progress))
            return Detection(found, None, self.model, [])
        there = as_image(image, self._settings)
        return Detection(self._session.detect(there._given(), listener(progress)), there, self.model, [])


def detect(image: ImageLike, model: Model | str | os.PathLike[str] | None = None, baseline: str | None = None, *,
           state: State | str | os.PathLike[str] | None = None, fit: ImageLike | None = None,
           config: Mapping[str, Any] | None = None, minutes: float | None = None, on_training_image: bool = False,
           keep_spectra: bool = True, progress: Progress = False, threads: int = 0, **configuration: Any) -> Detection:
    """Finds the spectra of an image that do not fit, as eelsvae-detect does.

    image: an Image, the path of a file, an array (y, x, E) of counts, or a signal of HyperSpy.
    model, baseline, state, fit and the others: see Session. Without model, baseline and state everything is chosen: a
    configuration that fits the image, a model, trained within 0.7 of `minutes` (5), and whether that or a baseline
    predicts held-out spectra best. progress: True shows a bar, if tqdm is installed; a function progress(stage, done, total) stops the
    detection, with an Error, where it returns something true; a training within it ends then, with what was learnt.
    """
    if model is None and baseline is None and state is None:
        if fit is not None:
            raise Error("fit: is for a baseline; give one, such as baseline=\"mean\"")
        if on_training_image:
            raise Error("on_training_image: belongs to a model; leave it out where one is still to be trained")
        settings, limit = configuration_json(config, configuration), 5.0 if minutes is None else minutes
        if not 0 <= limit <= 1e5:
            raise Error("minutes: must be from 0 to 100000")
        return _choose_and_detect(image, settings, limit, keep_spectra, progress, threads)
    if minutes is not None:
        raise Error("minutes: is for a model that is still to be trained; leave it out with model, baseline or state")
    session = Session(model, baseline, state=state, fit=fit, config=config, on_training_image=on_training_image,
                      keep_spectra=keep_spectra, threads=threads, **configuration)
    return session.detect(image, progress=progress)


def _choose_and_detect(image: ImageLike, settings: str, minutes: float, keep_spectra: bool, progress: Progress,
                       threads: int) -> Detection:
    began = time.monotonic()
    there = as_image(image, settings)
    given = there._given()
    config, no_model, choices, pixels = _engine.choose(given, settings)
    trained = None
    if not no_model:
        left = max(_engine.share_of_training * minutes - (time.monotonic() - began) / 60, 0.0)
        trained = _engine.train(given, config, threads, left, listener(progress))
    baseline, reasons = _engine.best(trained, config, pixels)
    model = None if trained is None else Model(trained)
    if baseline:
        session = Session(baseline=baseline, config=json.loads(config), keep_spectra=keep_spectra,
                          threads=threads)
    else:
        # The checkpoint holds what the settings said, but not for good which pixels were excluded.
        exclude = json.loads(config)["data"]["exclude"]
        session = Session(model, config={"data": {"exclude": exclude}} if exclude else None, on_training_image=True,
                          keep_spectra=keep_spectra, threads=threads)
    if isinstance(image, (str, os.PathLike)):  # of which only what is needed is read
        there = given = None
    found = session.detect(image if there is None else there, progress=progress)
    found.model = model
    found.choices = [*choices, *reasons]
    found.summary["choices"] = [*found.choices, *found.summary["choices"]]
    return found
