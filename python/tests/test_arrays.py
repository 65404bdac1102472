"""Arrays of any kind go in, as they lie; what is wrong with them is said in a line."""
import numpy as np
import pytest
import scipy.sparse

import eelsvae


def scores(counts, **image):
    return eelsvae.detect(eelsvae.Image(counts, 700, 0.3, **image), baseline="mean").scores


@pytest.fixture(scope="module")
def whole(film):
    """Counts that integers hold, too."""
    return np.clip(np.round(film.counts / 20), 0, 127).astype(np.float32)


@pytest.mark.parametrize("kind", ["i1", "u1", "<i2", ">i2", "<u2", "<i4", ">u4", "<i8", "<u8", "<f2", ">f4", "<f8"])
def test_types(whole, kind):
    assert np.array_equal(scores(whole.astype(kind)), scores(whole))


def test_layouts(whole, tmp_path):
    expected = scores(whole)
    fortran = np.asfortranarray(whole)
    backwards = np.ascontiguousarray(whole[::-1, ::-1, ::-1])[::-1, ::-1, ::-1]
    every_other = np.repeat(whole, 2, axis=2)[:, :, ::2]
    fields = np.zeros(whole.shape, [("flag", "u1"), ("counts", "<f4")])
    fields["counts"] = whole
    read_only = whole.copy()
    read_only.flags.writeable = False
    np.save(tmp_path / "whole.npy", whole)
    mapped = np.load(tmp_path / "whole.npy", mmap_mode="r")
    for counts in (fortran, backwards, every_other, fields["counts"], read_only, mapped):
        assert np.array_equal(scores(counts), expected)


def test_one_number_for_all(whole):
    same = np.broadcast_to(np.float32(3), whole.shape)
    with pytest.raises(eelsvae.Error):  # without noise; what lies behind the number in memory is not read
        eelsvae.detect(same, baseline="mean")
    nothing_excluded = np.broadcast_to(False, whole.shape[:2])
    assert np.array_equal(scores(whole), scores(whole, excluded=nothing_excluded))


def test_how_a_file_is_taken(whole, tmp_path):
    np.save(tmp_path / "whole.npy", whole)
    found = eelsvae.detect(tmp_path / "whole.npy", baseline="mean", data={"energy_offset": 700, "dispersion": 0.3})
    assert 700 <= found.energy[0] < 705
    chosen = eelsvae.detect(tmp_path / "whole.npy", minutes=0, data={"energy_offset": 700, "dispersion": 0.3})
    assert 700 <= chosen.energy[0] < 705
    with pytest.raises(eelsvae.Error, match="data.energy_offset"):
        eelsvae.detect(whole, baseline="mean", data={"energy_offset": 700})


def test_how_a_file_is_taken_is_heard_beside_a_model(film, model, tmp_path):
    np.save(tmp_path / "film.npy", film.counts)
    found = eelsvae.detect(tmp_path / "film.npy", model, data={"energy_offset": 700, "dispersion": 0.3})
    assert np.array_equal(found.scores, eelsvae.detect(film, model).scores)
    with pytest.raises(eelsvae.Error, match="does not hold the model's"):  # energies, which are not the model's then
        eelsvae.detect(tmp_path / "film.npy", model, data={"energy_offset": 600, "dispersion": 0.3})


def test_nothing_is_copied(film):
    image = eelsvae.Image(film.counts)
    assert image.counts is film.counts
    found = eelsvae.detect(film, baseline="mean")
    assert np.shares_memory(found.scores, found._found.scores)
    assert np.shares_memory(found.expectation, found._found.expected)
    kept = found.scores.copy()
    expectation = found.expectation
    del found
    assert kept.shape == expectation.shape[:2]  # its memory stays as long as somebody has a part of it
    assert np.isfinite(expectation).all()


def test_excluded(film):
    mask = np.zeros(film.shape[:2], bool)
    mask[3:9, 5:20] = True
    counts = film.counts.copy()
    counts[mask] = np.nan
    found = scores(counts, excluded=mask)
    assert np.array_equal(np.isnan(found), mask)
    assert np.array_equal(found, scores(counts, excluded=mask.T.astype(np.uint8).T * 3), equal_nan=True)


def test_booleans(film):
    counts = np.round(film.counts) % 2 == 1
    # Whose spectra of 0 and 1 would pass for saturated.
    found, expected = (eelsvae.detect(array, baseline="mean", preprocess={"set_aside": 0}).scores
                       for array in (counts, counts.astype(np.uint8)))
    assert np.array_equal(found, expected) and np.isfinite(found).all()


def mistakes(film, model, tiny):
    counts = film.counts
    return {
        "three, (y, x, E)": lambda: eelsvae.detect(counts[0], baseline="mean"),
        "of type complex64": lambda: eelsvae.Image(counts * 1j),
        "of type object": lambda: eelsvae.Image(counts.astype(object)),
        "64 bits": lambda: eelsvae.Image(counts.astype(np.longdouble)),
        "a masked array": lambda: eelsvae.Image(np.ma.masked_array(counts)),
        "excluded: has the shape": lambda: eelsvae.Image(counts, excluded=np.zeros((2, 2))),
        "dispersion above 0": lambda: eelsvae.detect(eelsvae.Image(counts, 700, 0), baseline="mean"),
        "each of (y, x, energy) is 1 or more": lambda: eelsvae.detect(counts[:0], baseline="mean"),
        "cannot read": lambda: eelsvae.read("/nowhere.dm4"),
        "did you mean training": lambda: eelsvae.train(film, trainin={"epochs": 1}),
        "no group of keys": lambda: eelsvae.train(film, {"training": 3, "training.epochs": 1}),
        "give a dict": lambda: eelsvae.train(film, "tiny.json"),
        "give numbers, texts": lambda: eelsvae.train(film, {"training": {"epochs": object()}}),
        "training.epochs": lambda: eelsvae.train(film, {"training.epochs": -1}),
        "data.energy_range: belongs to the trained model": lambda: eelsvae.Session(model, data={"energy_range": [700, 705]}),
        "data.data_path: says how a file": lambda: eelsvae.Session(model, **{"data.data_path": "scan.dm4"}),
        "data.dispersion: says how a file": lambda: eelsvae.detect(film, model, **{"data.dispersion": 0.5}),
        "data: expected an object": lambda: eelsvae.train(film, data=3),
        "sparse": lambda: eelsvae.Image(scipy.sparse.csr_array(counts[0])),
        "preprocess.sigma: belongs to the trained model": lambda: eelsvae.detect(film, model, preprocess={"sigma": 1}),
        "training.epochs: belongs to the trained model": lambda: eelsvae.detect(film, model, training={"epochs": 1}),
        "one of model, baseline and state": lambda: eelsvae.detect(film, model, "mean"),
        "minutes: is for": lambda: eelsvae.detect(film, model, minutes=1),
        "from 0 to 100000": lambda: eelsvae.train(film, minutes=-1),
        "no epoch": lambda: eelsvae.train(film, tiny, minutes=0),
        "there is no baseline": lambda: eelsvae.detect(film, baseline="median"),
        "keep_spectra=True": lambda: eelsvae.detect(film, baseline="mean", keep_spectra=False).expectation,
        "on_training_image": lambda: eelsvae.detect(film, on_training_image=True),
        "shape: has 2 numbers": lambda: eelsvae.simulate(shape=(24, 24)),
        "preset": lambda: eelsvae.simulate("diamond"),
        "safetensors": lambda: eelsvae.Model.from_bytes(b"nonsense"),
    }


def test_mistakes(film, model, tiny):
    for part, call in mistakes(film, model, tiny).items():
        text = "nothing"
        try:
            call()
        except eelsvae.Error as error:
            text = str(error)
        assert part in text and "\n" not in text, f"'{text}' does not say '{part}'"
    assert issubclass(eelsvae.Error, ValueError) and eelsvae.Error.__module__ == "eelsvae"


def test_configurations(film, tiny):
    nested = eelsvae.train(film, tiny)
    keys = {f"{group}.{key}": value for group, values in tiny.items() if isinstance(values, dict)
            for key, value in values.items()}
    dotted = eelsvae.train(film, **keys, precision="fp32", device="cpu")
    numpy = eelsvae.train(film, {**tiny, "tiles": {"image_size": np.int64(8), "sliding_window_stride": np.int64(8)},
                                 "model.channels": np.array([4, 8, 8, 16])})
    assert nested.config == dotted.config == numpy.config
    assert nested.config["tiles"]["image_size"] == nested.tile_size == 8
    assert nested.energy == pytest.approx(film.energy)
