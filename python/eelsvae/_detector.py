"""The habits of PyOD and scikit-learn, neither of which is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._detection import Detection, Session
from ._image import Image, ImageLike, as_image
from ._model import Model, train


class AnomalyDetector:
    """An estimator: a model is fitted to an image, whose spectra are its samples.

    X: an array (y, x, E) of counts, whose energies are energy_offset (eV) and dispersion (eV per channel), or an Image
    or a signal of HyperSpy, which have their own. Scores and labels have the shape (y, x); scores are higher where a
    spectrum fits worse, and NaN, with label 0, in excluded pixels.

    config: keys of docs/config.md, of the training and of detections. threads: of the CPU; 0: OpenMP's own setting.

    After fit(): model_; decision_scores_, labels_ (1: anomalous) and threshold_ of the image that it was fitted to.
    """

    def __init__(self, config: Mapping[str, Any] | None = None, energy_offset: float = 0.0, dispersion: float = 1.0,
                 threads: int = 0) -> None:
        self.config = config
        self.energy_offset = energy_offset
        self.dispersion = dispersion
        self.threads = threads

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("config", "energy_offset", "dispersion", "threads")}

    def set_params(self, **parameters: Any) -> AnomalyDetector:
        for name, value in parameters.items():
            if name not in self.get_params():
                raise ValueError(f"{name!r} is no parameter; there are {', '.join(self.get_params())}")
            setattr(self, name, value)
        return self

    def fit(self, X: ImageLike, y: Any = None) -> AnomalyDetector:
        """y is not looked at."""
        image = self._image(X)
        self.model_: Model = train(image, self.config, threads=self.threads)
        exclude = self.model_.config["data"]["exclude"]  # which a detection does not take from a model
        found = Session(self.model_, config={"data.exclude": exclude} if exclude else None, on_training_image=True,
                        keep_spectra=False, threads=self.threads).detect(image)
        self.decision_scores_: np.ndarray = found.scores
        self.labels_: np.ndarray = found.mask.astype(int)
        self.threshold_: float = found.threshold
        return self

    def decision_function(self, X: ImageLike) -> np.ndarray:
        """Scores (y, x) of an image, which need not be the one that it was fitted to."""
        return self._detect(X).scores

    def predict(self, X: ImageLike) -> np.ndarray:
        """Labels (y, x), 1 where anomalous, by the threshold that is found for this image."""
        return self._detect(X).mask.astype(int)

    def fit_predict(self, X: ImageLike, y: Any = None) -> np.ndarray:
        return self.fit(X).labels_

    def __repr__(self) -> str:
        return f"AnomalyDetector({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"

    def _image(self, X: ImageLike) -> Image:
        return Image(X, self.energy_offset, self.dispersion) if isinstance(X, np.ndarray) else as_image(X)

    def _detect(self, X: ImageLike) -> Detection:
        if not hasattr(self, "model_"):
            raise ValueError("the detector is not fitted; call fit(X) first")
        return Session(self.model_, keep_spectra=False, threads=self.threads).detect(self._image(X))
