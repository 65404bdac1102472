"""The notebooks of examples/notebooks are without outputs, run from top to bottom, and find what they simulate."""
import pathlib

import numpy as np
import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
FOLDER = pathlib.Path(__file__).parents[2] / "examples/notebooks"


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def run(name, folder):
    """The texts that the cells print, and the kinds of what they show."""
    notebook = read(name)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3",
                            resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.write(notebook, folder / f"{name}.ipynb")
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    return text, [kind for output in outputs for kind in output.get("data", {})]


def test_what_is_committed_has_no_outputs():
    names = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    assert names == ["hyperspy", "own_file", "running_scan"]
    for name in names:
        notebook = read(name)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            assert not cell.get("outputs") and cell.get("execution_count") is None
            assert not cell.metadata


def test_own_file(tmp_path):
    text, shown = run("own_file", tmp_path)
    assert "64 x 64 pixels, 192 channels from 690 eV" in text
    assert "\ntrusted\n" in text and "Fe L2,3 moved by" in text
    assert "predicts spectra that it was not fitted to best" in text
    assert shown.count("image/png") == 2 and "text/html" in shown
    import eelsvae
    truth = eelsvae.simulate("interface", (64, 64, 192), ["fe-shift:2:disc:2"], seed=5, energy_offset=690, exposure=2,
                             anomalies=6)[1]
    mask = np.load(tmp_path / "mask.npy")
    assert (mask & truth).sum() > 0.7 * truth.sum() and (mask & ~truth).sum() < 0.2 * mask.sum()
    assert np.load(tmp_path / "scores.npy").shape == (64, 64) and (tmp_path / "summary.json").exists()


def test_hyperspy(tmp_path):
    pytest.importorskip("exspy")
    text, shown = run("hyperspy", tmp_path)
    assert text.startswith("trusted\n") and "Fe L2,3 moved by" in text
    assert shown.count("image/png") >= 4 and "text/html" in shown
    import hyperspy.api as hs
    scores = hs.load(tmp_path / "scores.hspy")
    assert isinstance(scores, hs.signals.Signal2D) and scores.data.shape == (64, 64)
    assert [(axis.name, axis.units) for axis in scores.axes_manager.signal_axes] == [("x", "nm"), ("y", "nm")]


def test_running_scan(tmp_path):
    text, shown = run("running_scan", tmp_path)
    assert "second scan: True, first scan: True" in text
    assert "finished, 64 rows complete, 64 final" in text
    assert "Counts(received=4032, repeated=0, late=0, missing=64)" in text and "rows without scores: 32\n" in text
    assert shown.count("image/png") == 4
    import eelsvae
    truth = eelsvae.simulate("interface", (64, 64, 192), ["fe-shift:2:disc:2"], seed=5, noise_seed=2, energy_offset=690,
                             exposure=2, anomalies=6)[1]
    mask = np.load(tmp_path / "mask.npy")
    beside = sum(np.roll(truth, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)) > 0  # spectra are smoothed
    assert (mask & truth).sum() > 0.9 * truth.sum() and (mask & ~beside).sum() < 0.2 * mask.sum()
