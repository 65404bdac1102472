"""The habits of PyOD and scikit-learn, neither of which is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._detection import Detection, Session
from ._error import Error
from ._image import Image, ImageLike, as_image
from ._model import Model, train
from ._work import configuration_json


class AnomalyDetector:
    """An estimator: it is fitted to an image, whose spectra are its samples, and scores the spectra of others.

    X: an array (y, x, E) of counts, whose energies are energy_offset (eV) and dispersion (eV per channel), or an Image
    or a signal of HyperSpy, which have their own. Scores and labels have the shape (y, x); scores are higher where a
    spectrum fits worse, and NaN, with label 0, in excluded pixels. `.ravel()` makes of both what functions for tables
    take.

    config: keys of docs/config.md, of the training and of detections; what they crop and exclude belongs to the image
    that is fitted to. None: the defaults, the published network, which takes hours to train on a large image; minutes or
    a baseline answer sooner. baseline: "mean", "pca:3", "rx" and so on, fitted in place of a model; None: a model is trained.
    minutes: the training ends after so many; None: when it learns no more. threads: of the CPU; 0: OpenMP's own
    setting. There is no `contamination`: the threshold keeps a rate of false discoveries, detection.fdr, and needs no
    share of anomalies.

    After fit(): decision_scores_, labels_ (1: anomalous) and threshold_ of the image that it was fitted to,
    n_features_in_, its channels; and model_, or else fitted_image_: a baseline is fitted to it again for each image, as
    by eelsvae-detect's --fit, so it is kept, not copied, and must not change.
    """

    def __init__(self, config: Mapping[str, Any] | None = None, energy_offset: float = 0.0, dispersion: float = 1.0,
                 threads: int = 0, baseline: str | None = None, minutes: float | None = None) -> None:
        self.config = config
        self.energy_offset = energy_offset
        self.dispersion = dispersion
        self.threads = threads
        self.baseline = baseline
        self.minutes = minutes

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by their names; deep: not looked at, for none of them has parameters of its own."""
        names = ("config", "energy_offset", "dispersion", "threads", "baseline", "minutes")
        return {name: getattr(self, name) for name in names}

    def set_params(self, **parameters: Any) -> AnomalyDetector:
        """Changes parameters, of which the next fit() knows. ValueError for a name that is none."""
        for name, value in parameters.items():
            if name not in self.get_params():
                raise ValueError(f"{name!r} is no parameter; there are {', '.join(self.get_params())}")
            setattr(self, name, value)
        return self

    def fit(self, X: ImageLike, y: Any = None) -> AnomalyDetector:
        """y is not looked at."""
        image = self._image(X)
        if self.baseline is None:
            model = train(image, self.config, minutes=self.minutes, threads=self.threads)
            exclude = model.config["data"]["exclude"]  # which a detection does not take from a model
            session = Session(model, config={"data.exclude": exclude} if exclude else None, on_training_image=True,
                              keep_spectra=False, threads=self.threads)
        elif self.minutes is None:
            session = Session(baseline=self.baseline, config=self.config, keep_spectra=False, threads=self.threads)
        else:
            raise Error("minutes: is for the training of a model; leave it out with a baseline")
        found = session.detect(image)
        self.model_: Model | None = session.model
        self.fitted_image_: Image | None = None
        if self.baseline is not None:
            self.fitted_image_, config = _used_part(image, self.config)
            self._of_others: dict[str, Any] = {"baseline": self.baseline, "config": config, "fit": self.fitted_image_}
        self.decision_scores_: np.ndarray = found.scores
        self.labels_: np.ndarray = found.mask.astype(int)
        self.threshold_: float = found.threshold
        self.n_features_in_: int = image.shape[2]
        return self

    def decision_function(self, X: ImageLike) -> np.ndarray:
        """Scores (y, x) of an image, which need not be the one that it was fitted to."""
        return self._detect(X).scores

    def predict(self, X: ImageLike) -> np.ndarray:
        """Labels (y, x), 1 where anomalous, by the threshold that is found for this image, whose noise may be another
        than that of the image that it was fitted to: not threshold_."""
        return self._detect(X).mask.astype(int)

    def fit_predict(self, X: ImageLike, y: Any = None) -> np.ndarray:
        """fit(X).labels_"""
        return self.fit(X).labels_

    def __repr__(self) -> str:
        return f"AnomalyDetector({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "decision_scores_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags
        # No "outlier_detector": scikit-learn's have labels of 1 and -1, and lower scores where something is abnormal.
        return Tags(estimator_type=None, target_tags=TargetTags(required=False),
                    input_tags=InputTags(two_d_array=False, three_d_array=True))

    def _image(self, X: ImageLike) -> Image:
        return Image(X, self.energy_offset, self.dispersion) if isinstance(X, np.ndarray) else as_image(X)

    def _detect(self, X: ImageLike) -> Detection:
        if not self.__sklearn_is_fitted__():
            raise _not_fitted("the detector is not fitted; call fit(X) first")
        of = {"model": self.model_} if self.model_ is not None else self._of_others
        return Session(**of, keep_spectra=False, threads=self.threads).detect(self._image(X))


def _not_fitted(text: str) -> Exception:
    """A ValueError, and what scikit-learn looks for where it is there."""
    try:
        from sklearn.exceptions import NotFittedError
    except ImportError:
        return Error(text)
    return NotFittedError(text)


def _used_part(image: Image, config: Mapping[str, Any] | None) -> tuple[Image, dict[str, Any]]:
    """What a configuration leaves of an image by crop_y, crop_x and exclude, and the configuration without them."""
    used = json.loads(configuration_json(config))
    preprocess, data = used.get("preprocess", {}), used.get("data", {})
    excluded = np.zeros(image.shape[:2], bool) if image.excluded is None else image.excluded.copy()
    for y0, x0, y1, x1 in data.pop("exclude", None) or []:
        excluded[y0:y1, x0:x1] = True
    y, x = (slice(*(preprocess.pop(key, None) or [None])) for key in ("crop_y", "crop_x"))
    return Image(image.counts[y, x], image.energy_offset, image.dispersion, excluded=excluded[y, x]), used
