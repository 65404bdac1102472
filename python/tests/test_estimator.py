"""AnomalyDetector has the habits of scikit-learn and PyOD, as far as they make sense for images."""
import pickle

import numpy as np
import pytest

import eelsvae

BASELINES = ["mean", "pca:2", "rx:2"]


def detector_of(what, tiny):
    """what: "model", or a baseline."""
    if what == "model":
        return eelsvae.AnomalyDetector(tiny, 700, 0.3)
    return eelsvae.AnomalyDetector(None, 700, 0.3, baseline=what)


def test_a_model(film, other, model, tiny):
    detector = eelsvae.AnomalyDetector(tiny, energy_offset=700, dispersion=0.3)
    with pytest.raises(ValueError, match="not fitted"):
        detector.predict(other.counts)
    assert detector.fit(film.counts) is detector
    own = eelsvae.detect(film, model, on_training_image=True)
    assert np.array_equal(detector.decision_scores_, own.scores)
    assert np.array_equal(detector.labels_, own.mask.astype(int)) and detector.threshold_ == own.threshold
    found = eelsvae.detect(other, model)
    assert np.array_equal(detector.decision_function(other.counts), found.scores)
    assert np.array_equal(detector.predict(other), found.mask)
    assert np.array_equal(detector.predict(other) == 1, detector.decision_function(other) > found.threshold)
    assert detector.n_features_in_ == 64


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_baseline_fitted_to_one_image_scores_another(film, other, tiny, baseline):
    detector = detector_of(baseline, tiny).fit(film.counts)
    own = eelsvae.detect(film, baseline=baseline)
    assert np.array_equal(detector.decision_scores_, own.scores) and detector.threshold_ == own.threshold
    assert np.array_equal(detector.labels_, own.mask.astype(int))
    assert np.array_equal(detector.decision_function(film.counts), own.scores)  # the same image is no other one
    found = eelsvae.detect(other, baseline=baseline, fit=film)  # as eelsvae-detect --fit: test_programs.py
    scores = detector.decision_function(other.counts)
    assert np.array_equal(scores, found.scores)
    assert np.array_equal(detector.predict(other.counts), found.mask)
    assert not np.array_equal(scores, eelsvae.detect(other, baseline=baseline).scores)


def test_a_material_that_was_not_fitted_to_is_found(film, tiny):
    """Of which half of an image consists, so that what is fitted to that image takes it for normal."""
    mixed = film.counts.copy()
    mixed[:, :12] = np.roll(mixed[:, :12], 8, axis=2)  # all edges of that half, by 2.4 eV
    scores = detector_of("rx:2", tiny).fit(film.counts).decision_function(mixed)
    alone = eelsvae.detect(eelsvae.Image(mixed, 700, 0.3), baseline="rx:2").scores
    metrics = pytest.importorskip("sklearn.metrics")
    moved = np.zeros(scores.shape, bool)
    moved[:, :12] = True
    assert metrics.roc_auc_score(moved.ravel(), scores.ravel()) > 0.99
    assert metrics.roc_auc_score(moved.ravel(), alone.ravel()) < 0.8


@pytest.mark.parametrize("what", ["model", "pca:2"])
def test_what_is_cropped_and_excluded_belongs_to_the_image_that_it_is_fitted_to(film, other, tiny, what):
    keys = {"data.exclude": [[0, 0, 2, 8]], "preprocess.crop_x": [4, 24]}
    detector = detector_of(what, tiny)
    detector.set_params(config={**(detector.config or {}), **keys}).fit(film.counts)
    assert detector.decision_scores_.shape == detector.labels_.shape == (24, 20)
    assert np.isnan(detector.decision_scores_[:2, :4]).all() and not detector.labels_[:2, :4].any()
    assert np.isfinite(detector.decision_scores_[2:]).all()
    scores = detector.decision_function(other.counts)
    assert scores.shape == (32, 32) and np.isfinite(scores).all()
    excluded = np.zeros((24, 24), bool)
    excluded[:2, :8] = True
    if what == "model":
        expected = eelsvae.detect(other, detector.model_).scores
    else:
        normal = eelsvae.Image(film.counts[:, 4:], 700, 0.3, excluded=excluded[:, 4:])
        expected = eelsvae.detect(other, baseline=what, fit=normal).scores
    assert np.array_equal(scores, expected)


@pytest.mark.parametrize("what", ["model", "mean"])
def test_images_and_signals_have_their_own_energies(film, what, tiny):
    detector = detector_of(what, tiny).set_params(energy_offset=0, dispersion=1).fit(film)
    assert np.array_equal(detector.predict(film), detector.set_params(energy_offset=700, dispersion=0.3)
                          .predict(film.counts))


@pytest.mark.parametrize("what", ["model", "rx:2"])
def test_fitted_detectors_are_pickled(film, other, tiny, what):
    detector = detector_of(what, tiny).fit(film.counts)
    again = pickle.loads(pickle.dumps(detector))
    assert again.get_params() == detector.get_params()
    assert np.array_equal(again.decision_function(other.counts), detector.decision_function(other.counts))


def test_parameters(film, other, tiny):
    detector = eelsvae.AnomalyDetector(tiny)
    assert detector.set_params(energy_offset=5).get_params()["energy_offset"] == 5
    with pytest.raises(ValueError, match="no parameter"):
        detector.set_params(contamination=0.1)
    base = pytest.importorskip("sklearn.base")
    copy = base.clone(detector)
    assert copy is not detector and copy.get_params() == detector.get_params()
    # What is fitted stays, whatever is set afterwards.
    detector = detector_of("mean", tiny).fit(film.counts)
    scores = detector.decision_function(other.counts)
    assert np.array_equal(detector.set_params(baseline="pca:2", config=tiny).decision_function(other.counts), scores)
    assert np.array_equal(detector.set_params(baseline=None).decision_function(other.counts), scores)
    assert detector.fit(film.counts).model_ is not None and detector.fitted_image_ is None


def test_mistakes(film, model, tiny):
    mistakes = {"minutes: is for the training": detector_of("mean", tiny).set_params(minutes=1).fit,
                "no epoch": detector_of("model", tiny).set_params(minutes=0).fit,
                "there is no baseline": detector_of("median", tiny).fit,
                "fit: is for a baseline; a model": lambda X: eelsvae.detect(film, model, fit=film),
                "fit: is for a baseline; give one": lambda X: eelsvae.detect(film, fit=film),
                "fitted to has the energies 700 to 718.9": lambda X: detector_of("mean", tiny).fit(X).predict(eelsvae.Image(X, 400, 0.3))}
    for part, call in mistakes.items():
        with pytest.raises(eelsvae.Error, match=part):
            call(film.counts)


# ---- scikit-learn ----

# check_estimator() knows tables only, and checks nothing of an estimator that says that it takes none.
class OfTables(eelsvae.AnomalyDetector):
    """Takes a table for a line of spectra: its columns again and again, until there are 64 channels, and noise."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags

    def _image(self, X):
        if hasattr(X, "toarray"):
            return eelsvae.Image(X)
        X = np.asarray(X)
        if X.ndim == 2 and X.dtype.kind in "biuf" and X.size:
            X = 100 + X[:, np.arange(64) % X.shape[1]] + np.random.default_rng(0).normal(size=(len(X), 64))
        return super()._image(X[np.newaxis])


OTHER_WORDS = "is refused, in our words: tests/test_arrays.py"
NOT_FOR_IMAGES = {
    "check_complex_data": OTHER_WORDS,
    "check_dtype_object": OTHER_WORDS,
    "check_estimators_empty_data_messages": OTHER_WORDS,
    "check_fit2d_1sample": OTHER_WORDS + "; one spectrum has no noise that could be measured",
    "check_fit2d_predict1d": OTHER_WORDS,
    "check_methods_sample_order_invariance": "a pixel is judged beside its neighbours, and the check takes (y, x) for (n,)",
    "check_methods_subset_invariance": "noise and threshold are those of an image, so a part of it has others",
    "check_n_features_in": "the table's columns become 64 channels, which n_features_in_ rightly says: test_a_model",
    "check_n_features_in_after_fitting": "as above; other energies are refused: test_mistakes",
}
NEEDS_MORE_THAN_NUMPY = {"check_array_api_input"}  # skipped unless SCIPY_ARRAY_API is set; nothing but NumPy is taken


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("baseline", ["mean", "pca:1"])
def test_what_scikit_learn_checks(baseline):
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    detector = OfTables({"detection.threshold": 5}, baseline=baseline)  # tables of so few rows tell no rate
    results = checks.check_estimator(detector, expected_failed_checks=NOT_FOR_IMAGES, on_fail=None)
    assert len(results) > 35
    for result in results:
        name = result["check_name"]
        expected = "xfail" if name in NOT_FOR_IMAGES else "skipped" if name in NEEDS_MORE_THAN_NUMPY else "passed"
        assert result["status"] == expected, f"{name}: {result['status']}, {result['exception']}"
    assert NOT_FOR_IMAGES.keys() <= {result["check_name"] for result in results}


def test_scikit_learn_knows_what_it_is(film, tiny):
    sklearn = pytest.importorskip("sklearn")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.utils.validation import check_is_fitted
    detector = detector_of("mean", tiny)
    tags = sklearn.utils.get_tags(detector)
    assert tags.input_tags.three_d_array and not tags.input_tags.two_d_array and not tags.target_tags.required
    with pytest.raises(sklearn.exceptions.NotFittedError):
        check_is_fitted(detector)
    with pytest.raises(sklearn.exceptions.NotFittedError, match="call fit"):
        detector.decision_function(film.counts)
    check_is_fitted(detector.fit(film.counts))
    pipeline = make_pipeline(FunctionTransformer(lambda counts: counts[4:]), detector_of("mean", tiny))
    pipeline.fit(film.counts)
    assert np.array_equal(pipeline.decision_function(film.counts),
                          detector.fit(film.counts[4:]).decision_scores_)
    assert pipeline.predict(film.counts).shape == (20, 24)


# ---- PyOD ----

def used_as_pyod_has_it(detector, X, Y):
    """Scores and labels (n,) of Y by a detector that was fitted to X, and of X itself."""
    assert detector.fit(X) is detector
    assert np.array_equal(detector.labels_ == 1, detector.decision_scores_ > detector.threshold_)
    return [array.ravel() for array in (detector.decision_function(Y), detector.predict(Y), detector.decision_scores_,
                                        detector.labels_)]


@pytest.mark.parametrize("what", ["model", "pca:2"])
def test_beside_a_detector_of_pyod(tiny, what, capsys):
    pca = pytest.importorskip("pyod.models.pca")
    from pyod.utils.data import evaluate_print
    from pyod.utils.utility import precision_n_scores, standardizer
    film = eelsvae.simulate(shape=(24, 24, 64), energy_offset=700, seed=3, defects=[])[0]
    other, truth = eelsvae.simulate(shape=(32, 32, 64), energy_offset=700, seed=4, defects=["fe-shift:5:disc:2"])
    ours = used_as_pyod_has_it(detector_of(what, tiny), film.counts, other.counts)
    theirs = used_as_pyod_has_it(pca.PCA(n_components=2), film.counts.reshape(-1, 64), other.counts.reshape(-1, 64))
    for mine, pyods in zip(ours, theirs):
        assert mine.shape == pyods.shape and mine.dtype.kind == pyods.dtype.kind and set(mine[:0]) == set(pyods[:0])
    assert set(ours[1]) <= {0, 1} and set(theirs[1]) <= {0, 1}
    # What PyOD has for scores takes them.
    evaluate_print("ours", truth.ravel(), ours[0])
    assert "ROC" in capsys.readouterr().out
    assert precision_n_scores(truth.ravel(), ours[0]) > precision_n_scores(truth.ravel(), theirs[0])
    together = standardizer(np.column_stack([ours[0], theirs[0]])).mean(axis=1)
    assert together.shape == (1024,) and np.isfinite(together).all()
