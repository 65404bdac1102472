"""Beside what people have in their notebooks: HyperSpy, and the notebook itself."""
import base64
import importlib.resources
import io
import re
import sys

import numpy as np
import pytest

import eelsvae

hs = pytest.importorskip("hyperspy.api")


def signal_of(film, scale=0.3, offset=700.0, units="eV"):
    signal = hs.signals.Signal1D(film.counts)
    for axis, values in zip(signal.axes_manager._axes, [("y", "nm", 3.0, 2.0), ("x", "nm", 5.0, 0.5),
                                                        ("Energy loss", units, offset, scale)]):
        axis.name, axis.units, axis.offset, axis.scale = values
    signal.metadata.General.title = "a film"
    return signal


def test_signals(film):
    expected = eelsvae.detect(film, baseline="mean")
    found = eelsvae.detect(signal_of(film), baseline="mean")
    assert np.array_equal(found.scores, expected.scores)
    assert found.title == "a film"
    assert found.y == eelsvae.Axis("y", "nm", 3.0, 2.0) and found.x == eelsvae.Axis("x", "nm", 5.0, 0.5)
    in_kev = eelsvae.detect(signal_of(film, 0.0003, 0.7, "keV"), baseline="mean")
    assert in_kev.energy == pytest.approx(expected.energy)
    undefined = signal_of(film)
    undefined.axes_manager.signal_axes[0].units = hs.signals.Signal1D([0]).axes_manager.signal_axes[0].units
    assert np.array_equal(eelsvae.detect(undefined, baseline="mean").scores, expected.scores)


def test_spectra_of_exspy(film, tiny):
    exspy = pytest.importorskip("exspy.signals")
    signal = exspy.EELSSpectrum(film.counts)
    signal.axes_manager.signal_axes[0].offset, signal.axes_manager.signal_axes[0].scale = 700, 0.3
    signal.axes_manager.signal_axes[0].units = "eV"
    ours, expected = (eelsvae.train(image, tiny).to_torch_state_dict() for image in (signal, film))
    for name, weights in expected.items():
        assert np.array_equal(ours[name], weights), name
    assert eelsvae._image.as_image(signal).metadata["Signal"]["signal_type"] == "EELS"


def test_lazy_signals_are_computed_chunk_by_chunk(film):
    import dask.array
    computed = []

    def load(block):
        computed.append(block.shape)
        return block

    signal = signal_of(film).as_lazy()
    signal.data = dask.array.from_array(film.counts, chunks=(6, 24, 64)).map_blocks(load, dtype=film.counts.dtype,
                                                                                   meta=film.counts[:0])
    found = eelsvae.detect(signal, baseline="mean")
    assert computed == [(6, 24, 64)] * 4
    assert np.array_equal(found.scores, eelsvae.detect(film, baseline="mean").scores)


def test_lines_and_what_is_no_map(film):
    line = signal_of(film).inav[:, 0]
    image = eelsvae._image.as_image(line)
    assert image.shape == (1, 24, 64) and np.array_equal(image.counts[0], film.counts[0])
    turned = eelsvae._image.as_image(signal_of(film).transpose(navigation_axes=[1, 0]))
    assert np.array_equal(turned.counts, film.counts.transpose(1, 0, 2))
    with pytest.raises(eelsvae.Error, match="dimensions of navigation"):
        eelsvae.detect(hs.signals.Signal2D(film.counts))
    with pytest.raises(eelsvae.Error, match="no unit of energy"):
        eelsvae.detect(signal_of(film, units="nm"))


def test_results_as_signals(film):
    found = eelsvae.detect(signal_of(film), baseline="mean", **{"preprocess.crop_x": [4, 20]})
    signals = found.to_hyperspy()
    scores, expectation = signals["scores"], signals["expectation"]
    assert isinstance(scores, hs.signals.Signal2D) and np.array_equal(scores.data, found.scores)
    x, y = scores.axes_manager.signal_axes
    assert (x.name, x.units, x.offset, x.scale, x.size) == ("x", "nm", 7.0, 0.5, 16)
    assert (y.name, y.units, y.offset, y.scale, y.size) == ("y", "nm", 3.0, 2.0, 24)
    assert np.array_equal(signals["mask"].data, found.mask)
    assert expectation.axes_manager.signal_axes[0].offset == pytest.approx(700)
    assert expectation.data.shape == (24, 16, 64)
    assert set(eelsvae.detect(film, baseline="mean", keep_spectra=False).to_hyperspy()) == {"scores", "mask"}


def test_signals_need_hyperspy(film, monkeypatch):
    found = eelsvae.detect(film, baseline="mean")
    monkeypatch.setitem(sys.modules, "hyperspy.api", None)
    with pytest.raises(eelsvae.Error, match="pip install hyperspy"):
        found.to_hyperspy()


def test_a_notebook_shows_the_map(other):
    from PIL import Image
    found = eelsvae.detect(other, baseline="mean", **{"data.exclude": [[0, 0, 2, 3]]})
    assert found.mask.any()
    shown = found._repr_html_()
    picture = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^']+)'", shown)[1])))
    assert picture.size == (384, 384)
    colours = np.asarray(picture)
    assert tuple(colours[0, 0]) == (128, 128, 128)
    y, x = np.argwhere(found.mask)[0]
    assert (colours[12 * y:12 * y + 12, 12 * x:12 * x + 12] == (255, 60, 60)).all(axis=2).any()
    assert f"{found.mask.sum()} of 1018 spectra do not fit" in shown
    for region in found.regions[:10]:
        assert region.words in shown
    assert "http" not in shown


def test_regions(other):
    found = eelsvae.detect(other, baseline="mean")
    assert sum(region.pixels for region in found.regions) == found.mask.sum()
    first = found.regions[0]
    assert found.scores[first.y, first.x] == np.nanmax(found.scores) == np.float32(first.score)
    assert any("Fe" in region.words for region in found.regions)


def test_the_package_is_typed():
    files = {path.name for path in importlib.resources.files(eelsvae).iterdir()}
    assert {"py.typed", "_engine.pyi", "eelsvae-hdf5-reader"} <= files
