"""Scans that are still running."""

import pickle
import threading

import numpy as np
import pytest

import eelsvae


@pytest.fixture(scope="module")
def state(film):
    return eelsvae.State.learn(film, "mean")


def scan_of(image, state, **more):
    return eelsvae.Scan(state, shape=image.counts.shape, energy_offset=image.energy_offset,
                        dispersion=image.dispersion, **more)


@pytest.fixture(scope="module")
def next_film():
    return eelsvae.simulate(shape=(24, 24, 64), energy_offset=700, seed=3, noise_seed=9)[0]


def test_ends_as_the_program_does(program, tmp_path, film, next_film, state):
    """Bit for bit, by a state that the program wrote."""
    for name, image in ("film", film), ("next", next_film):
        np.save(tmp_path / f"{name}.npy", image.counts)
    axis = ["--set", "data.energy_offset=700", "--set", "data.dispersion=0.3"]
    program("detect", tmp_path / "film.npy", "--baseline", "mean", "--output", tmp_path / "found", *axis)
    program("detect", tmp_path / "next.npy", "--state", tmp_path / "found", "--output", tmp_path / "next", *axis)
    kept = eelsvae.State.open(tmp_path / "found")
    assert bytes(kept) == bytes(state) == (tmp_path / "found" / "state.safetensors").read_bytes()
    scan = scan_of(next_film, tmp_path / "found")
    for y in range(24):
        final = scan.push(24 * y, next_film.counts[y])
        assert final.stop == scan.final_rows == max(0, y + 1 - scan.reach) or y == 23
        assert scan.score_provisionally().stop == scan.scored_rows == y + 1
        assert np.isfinite(scan.scores[: y + 1]).all() and np.isnan(scan.scores[y + 1:]).all()
    found = scan.finish()
    assert scan.finished and repr(scan) == "<eelsvae.Scan: 24 x 24, finished, 24 rows complete, 24 final>"
    np.testing.assert_array_equal(found.scores, np.load(tmp_path / "next" / "scores.npy"))
    np.testing.assert_array_equal(found.mask, np.load(tmp_path / "next" / "mask.npy"))
    assert found.summary["scan"] == {"finished": True, "complete_rows": 24, "final_rows": 24, "received": 576,
                                     "repeated": 0, "late": 0, "missing": 0}
    assert "do not fit" in found._repr_html_()


def test_takes_arrays_of_any_layout(next_film, state):
    wanted = scan_of(next_film, state)
    wanted.push(0, next_film.counts.reshape(-1, 64))
    scan = scan_of(next_film, state, threads=1)
    turned = np.asfortranarray(next_film.counts.reshape(-1, 64).astype(">f8"))
    for first in range(0, 576, 9):
        scan.push(first, turned[first:first + 9])
    np.testing.assert_array_equal(scan.finish().scores, wanted.finish().scores)


def test_takes_memory_that_is_no_plain_array(next_film, state):
    """One number that stands for many, and fields of records."""
    one = next_film.counts[5, 3].astype(np.float32)
    same = np.broadcast_to(np.float32(300), (576, 64))
    record = np.zeros(576, dtype=[("tag", "u1"), ("spectrum", "<f4", 64)])
    record["spectrum"] = next_film.counts.reshape(-1, 64)
    for given in same, np.broadcast_to(one, (576, 64)), record["spectrum"]:
        scan, wanted = scan_of(next_film, state, threads=1), scan_of(next_film, state, threads=1)
        scan.push(0, given)
        wanted.push(0, np.array(given))
        np.testing.assert_array_equal(scan.scores, wanted.scores)


def test_refuses_what_is_no_numbers(next_film, state):
    scan = scan_of(next_film, state)
    counts = next_film.counts[0]
    for wrong, said in ((np.ma.masked_array(counts), "masked"), (counts.astype(np.longdouble), "64 bits"),
                        (counts.astype(complex), "64 bits"), (next_film.counts, "dimensions")):
        with pytest.raises(eelsvae.Error, match=said):
            scan.push(0, wrong)
    assert scan.counts.received == 0


def test_may_be_looked_at_by_another_thread(next_film, state):
    """A display that follows an acquisition."""
    scan = scan_of(next_film, state)
    looks, wrong = [], []

    def look():
        try:
            while not scan.finished:
                rows = scan.scored_rows
                scores = scan.scores
                looks.append(rows)
                assert np.isfinite(scores[:rows]).all() and scores.base is not None
                scan.worst(), scan.counts, scan.threshold, repr(scan)
                if rows:
                    assert scan.detection().scores.shape == (24, 24) and bytes(scan.state) == bytes(state)
        except Exception as error:  # told below
            wrong.append(error)

    display = threading.Thread(target=look)
    display.start()
    for y in range(24):
        scan.push(24 * y, next_film.counts[y])
        scan.score_provisionally()
    kept = scan.scores
    scan.finish()
    display.join()
    assert not wrong and len(looks) > 1
    wanted = scan_of(next_film, state)
    wanted.push(0, next_film.counts.reshape(-1, 64))
    np.testing.assert_array_equal(scan.scores, wanted.finish().scores)
    assert kept.flags.writeable and not np.shares_memory(kept, scan.scores)


def test_learns_from_its_first_rows_and_loses_nothing_unseen(next_film):
    excluded = np.zeros((24, 24))
    excluded[3, 4] = 1
    scan = eelsvae.Scan(baseline="pca:1", learn_rows=20, shape=(24, 24, 64), energy_offset=700, dispersion=0.3,
                        excluded=excluded, config={"detection": {"fdr": 0.1}})
    assert scan.learning and scan.threshold == np.inf and scan.worst() == []
    with pytest.raises(eelsvae.Error, match="learn"):
        scan.detection()
    for y in range(24):
        if y != 21:
            scan.push(24 * y, next_film.counts[y])
    scan.push(0, next_film.counts[0, 0])
    found = scan.finish()
    assert scan.counts == eelsvae.Counts(received=23 * 24 - 1, repeated=0, late=1, missing=24)
    assert np.isnan(found.scores[21]).all() and np.isnan(found.scores[3, 4])
    assert not scan.learning and "480" not in repr(scan.state)
    same = pickle.loads(pickle.dumps(scan.state))
    assert bytes(same) == bytes(scan.state) and len(same.energy) == 64


def test_shows_what_fits_worst(next_film, state):
    changed = next_film.counts.copy()
    changed[5, 7, 30:36] += 20 * changed.std()
    scan = scan_of(next_film, state)
    scan.push(0, changed.reshape(-1, 64))
    worst = scan.worst(1)[0]
    assert abs(worst.y - 5) <= 1 and abs(worst.x - 7) <= 1 and worst.final
    assert worst.observed.shape == worst.expectation.shape == (64,)
    assert abs(worst.observed - worst.expectation).max() > 0.1


def test_says_what_is_wrong(next_film, state):
    with pytest.raises(eelsvae.Error, match="one of state and baseline"):
        eelsvae.Scan(shape=(24, 24, 64), energy_offset=700, dispersion=0.3)
    with pytest.raises(eelsvae.Error, match="learn_rows"):
        eelsvae.Scan(baseline="mean", shape=(24, 24, 64), energy_offset=700, dispersion=0.3)
    with pytest.raises(eelsvae.Error, match="eV"):
        eelsvae.Scan(state, shape=(24, 24, 64), energy_offset=650, dispersion=0.3)
    with pytest.raises(eelsvae.Error, match="belongs to the state"):
        scan_of(next_film, state, config={"detection": {"fdr": 0.1}})
    with pytest.raises(eelsvae.Error, match="no.such|nowhere"):
        eelsvae.State.open("/nowhere/no.such")
    with pytest.raises(eelsvae.Error, match="score"):
        eelsvae.State.learn(next_film, "mean", config={"detection": {"score": "joint"}})
    scan = scan_of(next_film, state)
    with pytest.raises(eelsvae.Error, match="channels"):
        scan.push(0, next_film.counts[0, :, :60])
    with pytest.raises(eelsvae.Error, match="pixels from 570"):
        scan.push(570, next_film.counts[0])
    broken = next_film.counts[0].copy()
    broken[3, 2] = np.nan
    with pytest.raises(eelsvae.Error, match="pixel 3 .*not finite"):
        scan.push(0, broken)
    assert scan.counts.received == 0


def test_by_a_model_ends_as_its_detection_did(film, model):
    session = eelsvae.Session(model, threads=1)
    found = session.detect(film)
    scan = scan_of(film, found.state, model=model, threads=1)
    assert repr(found.state).startswith("<eelsvae.State: a model, measured in 576 spectra")
    for y in range(24):
        scan.push(24 * y, film.counts[y])
    np.testing.assert_array_equal(scan.finish().scores, found.scores)
    with pytest.raises(eelsvae.Error, match="model"):
        scan_of(film, found.state)
    with pytest.raises(eelsvae.Error, match="no state"):
        eelsvae.detect(film, baseline="mean", config={"detection": {"score": "joint"}}).state
