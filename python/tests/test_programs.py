"""The package finds, learns and reads what the programs do, bit by bit."""
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import eelsvae


@pytest.fixture(scope="module")
def folder(tmp_path_factory, program, tiny):
    folder = tmp_path_factory.mktemp("programs")
    (folder / "tiny.json").write_text(json.dumps(tiny))
    at = ["--offset-ev", 700]
    program("simulate", "--shape", 24, 24, 64, *at, "--seed", 3, "--output", folder / "film.hspy",
            "--truth", folder / "truth.npy")
    program("simulate", "--shape", 32, 32, 64, *at, "--seed", 4, "--defect", "fe-shift:5:disc:2", "--output",
            folder / "other.hspy")
    program("train", folder / "tiny.json", "--data", folder / "film.hspy", "--output", folder / "run")
    return folder


def compare(found, folder, of_file=True):
    """of_file: nothing is known of an array's file and of how it was taken."""
    assert np.array_equal(found.scores, np.load(folder / "scores.npy"), equal_nan=True)
    assert np.array_equal(found.mask, np.load(folder / "mask.npy"))
    summary = json.loads((folder / "summary.json").read_text())
    for key in ("threshold", "anomalous_pixels", "regions", "explanations", "trusted", "reasons", "null"):
        assert found.summary[key] == summary[key], key
    for key in ("data", "model", "versions", "inputs", "choices", "configuration", "remarks", "predictive_deviance"):
        assert found.summary[key] == summary[key] or not of_file, key
    assert found.threshold == summary["threshold"]
    assert found.reasons == summary["reasons"]


def test_simulation(folder):
    image, truth = eelsvae.simulate(shape=(24, 24, 64), energy_offset=700, seed=3)
    there = eelsvae.read(folder / "film.hspy")
    assert np.array_equal(there.counts, image.counts)
    assert np.array_equal(truth, np.load(folder / "truth.npy"))
    assert truth.dtype == bool and truth.sum() > 0
    assert there.title == image.title
    assert there.x == image.x == eelsvae.Axis("x", "nm", 0.0, 1.0)
    assert there.energy == pytest.approx(700 + 0.3 * np.arange(64))


def test_reading_keeps_numbers_and_metadata(folder, program):
    told = json.loads(program("info", folder / "film.hspy", "--json"))
    assert told["images"][0]["shape"] == [24, 24, 64]
    image = eelsvae.read(folder / "film.hspy", data={"energy_offset": 690, "dispersion": 0.25})
    assert (image.energy_offset, image.dispersion) == (690, 0.25)
    assert image.metadata


@pytest.mark.parametrize("baseline", ["mean", "pca:3", "rx:auto"])
def test_baselines(folder, program, baseline):
    program("detect", "--baseline", baseline, "--data", folder / "other.hspy", "--output", folder / baseline)
    compare(eelsvae.detect(folder / "other.hspy", baseline=baseline), folder / baseline)


def test_a_file_is_found_in_as_its_image_is(folder):
    """Of a file the engine reads only what it needs."""
    path, keys = folder / "other.hspy", {"preprocess.crop_y": [4, 28], "data.exclude": [[0, 0, 24, 3]]}
    for source in ({"baseline": "mean"}, {"model": folder / "run"}):
        there, again = (eelsvae.detect(image, **source, **keys) for image in (path, eelsvae.read(path)))
        assert np.array_equal(there.scores, again.scores, equal_nan=True) and np.isnan(there.scores[:20, :3]).all()
        assert (there.y, there.x, there.title) == (again.y, again.x, again.title)
        assert there.y.units == "nm" and there.y.offset == 4.0 and there.title
    with pytest.raises(eelsvae.Error, match="reach|beyond"):
        eelsvae.detect(path, baseline="mean", **{"data.exclude": [[0, 0, 24, 300]]})


@pytest.mark.parametrize("baseline", ["mean", "pca:3", "rx:auto"])
def test_baselines_fitted_to_another_image(folder, program, baseline):
    """What is cropped and excluded is of the image under test."""
    program("detect", "--baseline", baseline, "--fit", folder / "film.hspy", "--data", folder / "other.hspy", "--output",
            folder / f"fitted-{baseline}", "--set", "preprocess.crop_y=2,30", "--set", "data.exclude=0,0,24,3")
    keys = {"preprocess.crop_y": [2, 30], "data.exclude": [[0, 0, 24, 3]]}
    found = eelsvae.detect(folder / "other.hspy", baseline=baseline, fit=folder / "film.hspy", **keys)
    compare(found, folder / f"fitted-{baseline}")
    session = eelsvae.Session(baseline=baseline, fit=eelsvae.read(folder / "film.hspy"), config=keys)
    for _ in range(2):
        assert np.array_equal(session.detect(folder / "other.hspy").scores, found.scores, equal_nan=True)


def test_baseline_with_a_configuration(folder, program):
    keys = {"detection.fdr": 0.2, "preprocess.crop_y": [4, 28], "preprocess": {"bin_xy": 2}}
    program("detect", "--baseline", "mean", "--data", folder / "other.hspy", "--output", folder / "cropped", "--set",
            "detection.fdr=0.2", "--set", "preprocess.crop_y=4,28", "--set", "preprocess.bin_xy=2")
    found = eelsvae.detect(folder / "other.hspy", baseline="mean", **keys)
    compare(found, folder / "cropped")
    assert found.scores.shape == (12, 16)
    assert found.y == eelsvae.Axis("y", "nm", 4.5, 2.0)  # the middle of the first two rows that are left


def test_model(folder, program):
    program("detect", "--model", folder / "run", "--data", folder / "other.hspy", "--output", folder / "found")
    compare(eelsvae.detect(folder / "other.hspy", folder / "run"), folder / "found")
    program("detect", "--model", folder / "run", "--output", folder / "own")
    model = eelsvae.Model.open(folder / "run")
    compare(eelsvae.detect(folder / "film.hspy", model, on_training_image=True), folder / "own")
    compare(eelsvae.detect(eelsvae.read(folder / "film.hspy"), model, on_training_image=True), folder / "own", False)


def test_how_the_models_image_was_taken_is_how_others_are(folder, program, tmp_path):
    """And the summary says so."""
    np.save(tmp_path / "film.npy", eelsvae.read(folder / "film.hspy").counts)
    axis = ["--set", "data.energy_offset=700", "--set", "data.dispersion=0.3"]
    program("train", folder / "tiny.json", "--data", tmp_path / "film.npy", "--output", tmp_path / "run", *axis)
    program("detect", tmp_path / "film.npy", "--model", tmp_path / "run", "--output", tmp_path / "found", "--set",
            "data.swap_axes=true")
    found = eelsvae.detect(tmp_path / "film.npy", tmp_path / "run", data={"swap_axes": True}, on_training_image=True)
    compare(found, tmp_path / "found")
    assert found.summary["configuration"]["data"]["energy_offset"] == 700
    assert found.summary["configuration"]["data"]["swap_axes"]


def test_a_state_scores_another_image(folder, program):
    """As the first one was: its baseline, its noise, its null."""
    cropped = ["--set", "preprocess.crop_y=2,30"]
    program("detect", folder / "film.hspy", "--baseline", "pca:2", "--output", folder / "first")
    program("detect", folder / "other.hspy", "--state", folder / "first", "--output", folder / "by_state", *cropped)
    keys = {"preprocess.crop_y": [2, 30]}
    found = eelsvae.detect(folder / "other.hspy", state=folder / "first", **keys)
    compare(found, folder / "by_state")
    first = eelsvae.detect(folder / "film.hspy", baseline="pca:2")
    again = eelsvae.detect(eelsvae.read(folder / "other.hspy"), state=first.state, config=keys)
    compare(again, folder / "by_state", False)
    assert bytes(again.state) == bytes(first.state)
    program("detect", folder / "film.hspy", "--model", folder / "run", "--output", folder / "first_of_model")
    program("detect", folder / "other.hspy", "--model", folder / "run", "--state", folder / "first_of_model", "--output",
            folder / "by_model")
    found = eelsvae.detect(folder / "other.hspy", folder / "run", state=folder / "first_of_model")
    compare(found, folder / "by_model")
    for mistake, words in (({"baseline": "mean"}, "leave the other out"), ({"fit": folder / "film.hspy"}, "baseline"),
                           ({"minutes": 1}, "leave it out"), ({"preprocess.sigma": 1}, "belongs to the state"),
                           ({"model": folder / "run"}, "leave the model out")):
        with pytest.raises(eelsvae.Error, match=words):
            eelsvae.detect(folder / "other.hspy", state=folder / "first", **mistake)
    with pytest.raises(eelsvae.Error, match="made with a model"):
        eelsvae.detect(folder / "other.hspy", state=folder / "first_of_model")


def test_a_models_file_is_needed_no_more(folder, tmp_path):
    eelsvae.Model.open(folder / "run").save(tmp_path / "model.safetensors")
    model = eelsvae.Model.open(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    inputs = eelsvae.detect(folder / "other.hspy", model).summary["inputs"]
    assert [pathlib.Path(there["path"]).name for there in inputs] == ["other.hspy", "model.safetensors"]


def test_training(folder, program, model, tmp_path):
    ours, theirs = model.to_torch_state_dict(), eelsvae.Model.open(folder / "run").to_torch_state_dict()
    assert list(ours) == list(theirs) and "encoder.0.weight" in ours
    for name, weights in ours.items():
        assert np.array_equal(weights, theirs[name]), name
    model.save(tmp_path / "mine.safetensors")
    found = eelsvae.detect(folder / "other.hspy", model)
    program("detect", "--model", tmp_path / "mine.safetensors", "--data", folder / "other.hspy", "--output",
            tmp_path / "found")
    compare(found, tmp_path / "found", False)
    compare(eelsvae.detect(folder / "other.hspy", tmp_path / "mine.safetensors"), tmp_path / "found")


def test_what_is_chosen(folder, program):
    told = json.loads(program("train", "--init", folder / "other.hspy", "--set", "tiles.image_size=8"))
    config, no_model, reasons, pixels = eelsvae._engine.choose(eelsvae.read(folder / "other.hspy")._given(),
                                                               '{"tiles": {"image_size": 8}}')
    chosen = json.loads(config)
    del chosen["data"], told["data"]  # the file, and its energies for who wants to change them
    assert chosen == told and (no_model, pixels) == ("", 1024) and reasons


@pytest.mark.parametrize("how", [{}, {"data": {"dispersion": 0.25, "energy_offset": 690}}])
def test_everything_is_chosen_as_by_the_program(folder, program, tmp_path, how):
    """Of so few spectra no model is made, and nothing depends on the time that there is."""
    image = folder / "small.hspy"
    program("simulate", "--shape", 9, 14, 64, "--offset-ev", 700, "--seed", 4, "--output", image)
    keys = [f"data.{key}={value}" for key, value in how.get("data", {}).items()] + ["detection.fdr=0.1"]
    program("detect", image, "--output", tmp_path / "found", *(part for key in keys for part in ("--set", key)))
    found = eelsvae.detect(image, detection={"fdr": 0.1}, **how)
    assert found.summary["configuration"]["data"].pop("data_path") == ""
    found.summary["configuration"]["data"]["data_path"] = str(image)  # which stands in "data" and "inputs", too
    compare(found, tmp_path / "found")
    assert found.choices == found.summary["choices"][: len(found.choices)] and len(set(found.choices)) >= 3


def test_example(folder, tmp_path):
    script = pathlib.Path(__file__).parents[2] / "examples/own_file.py"
    done = subprocess.run([sys.executable, script, folder / "other.hspy", "0.05"], cwd=tmp_path, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    assert "departs most at" in done.stdout
    assert np.load(tmp_path / "mask.npy").dtype == bool
