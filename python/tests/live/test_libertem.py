"""Scores in LiberTEM, by its executors, and in LiberTEM-live, of the detectors that it simulates."""

import socket

import libertem.api
import numpy as np
import pytest
import sparse
from eelsvae.libertem import AnomalyUDF
from libertem.udf.base import UDFRunner
from libertem.udf.sum import SumUDF
from libertem_live.api import LiveContext
from libertem_live.detectors.merlin.sim import CameraSim

import eelsvae

ROWS = (3, 7)


@pytest.fixture(scope="module")
def state(film):
    return eelsvae.State.learn(film, "mean")


@pytest.fixture(scope="module")
def counts():
    """Of another scan of the film: (24, 24, 64)."""
    image = eelsvae.simulate(shape=(24, 24, 64), energy_offset=700, seed=3, noise_seed=9)[0]
    return np.maximum(image.counts, 0).astype(np.uint16)


def frames_of(counts, rows=ROWS, height=10):
    """Images whose rows from rows[0] to before rows[1] sum to the spectra; others are not to be looked at."""
    frames = np.full((*counts.shape[:2], height, counts.shape[2]), 60000, np.uint16)
    share = counts // (rows[1] - rows[0])
    frames[:, :, rows[0]:rows[1]] = share[:, :, np.newaxis]
    frames[:, :, rows[0]] += counts - (rows[1] - rows[0]) * share
    return frames


def scan_of(counts, state, **more):
    scan = eelsvae.Scan(state, shape=counts.shape, energy_offset=700, dispersion=0.3, **more)
    scan.push(0, counts.reshape(-1, counts.shape[2]))
    return scan.finish()


def udf_of(state, **more):
    return AnomalyUDF(state, energy_offset=700, dispersion=0.3, **more)


@pytest.fixture(scope="module")
def contexts():
    made = {}

    def make(executor):
        if executor not in made:
            made[executor] = libertem.api.Context.make_with(executor)
        return made[executor]

    yield make
    for context in made.values():
        context.close()


@pytest.mark.parametrize("executor, partitions", [("inline", 1), ("inline", 7), ("threads", 7)])
def test_scores_are_those_of_a_scan(contexts, executor, partitions, state, counts):
    """Bit for bit, however the scan is cut and whoever works on it."""
    context = contexts(executor)
    data = context.load("memory", data=frames_of(counts), sig_dims=2, num_partitions=partitions)
    udf = udf_of(state, rows=ROWS)
    result = context.run_udf(dataset=data, udf=udf)
    wanted = scan_of(counts, state)
    np.testing.assert_array_equal(result["scores"].data, wanted.scores)
    assert result["threshold"].data == wanted.threshold and result["final"].data.all()
    assert set(result) == {"scores", "final", "threshold"}
    assert "state" not in udf.params  # a worker sums, and is not sent it
    assert udf.scan.finished and udf.scan.counts.received == 576
    np.testing.assert_array_equal(udf.scan.detection().mask, wanted.mask)


def test_partial_results(contexts, state, counts):
    context = contexts("inline")
    data = context.load("memory", data=counts, sig_dims=1, num_partitions=12)
    udf = udf_of(state)
    wanted = scan_of(counts, state).scores
    for part, result in enumerate(context.run_udf_iter(dataset=data, udf=udf)):
        scores, final = result.buffers[0]["scores"].data, result.buffers[0]["final"].data
        rows = 2 * (part + 1)
        assert np.isfinite(scores[:rows]).all() and np.isnan(scores[rows:]).all()
        assert udf.scan.reach > 0
        np.testing.assert_array_equal(final.all(axis=1), np.arange(24) < (24 if rows == 24 else max(0, rows - udf.scan.reach)))
        np.testing.assert_array_equal(scores[final], wanted[final])
    np.testing.assert_array_equal(scores, wanted)
    assert {"scores", "final", "threshold"} < set(UDFRunner.inspect_udf(udf, data))
    only_final = udf_of(state, provisional=False)
    for result in context.run_udf_iter(dataset=data, udf=only_final):
        scores, final = result.buffers[0]["scores"].data, result.buffers[0]["final"].data
        np.testing.assert_array_equal(np.isfinite(scores), final)


def test_partitions_may_come_in_any_order(contexts, state, counts):
    """As they do from workers that are not equally fast: later ones wait."""
    context = contexts("inline")
    data = context.load("memory", data=counts, sig_dims=1, num_partitions=6)
    udf = udf_of(state)
    received = []

    class Shuffled(type(context.executor)):
        def run_tasks(self, tasks, *more):
            done = list(super().run_tasks(tasks, *more))
            yield from (done[i] for i in (3, 1, 0, 5, 4, 2))

    shuffled = libertem.api.Context(executor=Shuffled())
    for result in shuffled.run_udf_iter(dataset=data, udf=udf):
        received.append(udf.scan.counts.received)
    assert received == [0, 0, 192, 192, 192, 576]
    np.testing.assert_array_equal(result.buffers[0]["scores"].data, scan_of(counts, state).scores)


def test_region_of_interest_and_other_udfs(contexts, state, counts):
    context = contexts("threads")
    data = context.load("memory", data=frames_of(counts).transpose(0, 1, 3, 2), sig_dims=2, num_partitions=5)
    roi = np.ones((24, 24), bool)
    roi[5:9, 3:8] = roi[20:] = roi[0] = False
    result, _ = context.run_udf(dataset=data, udf=[udf_of(state, rows=ROWS, energy_axis=0), SumUDF()], roi=roi)
    wanted = scan_of(counts, state, excluded=~roi)
    np.testing.assert_array_equal(result["scores"].data, wanted.scores)
    assert np.isnan(result["scores"].data).sum() == (~roi).sum()
    assert result["threshold"].data == wanted.threshold
    of_sparse = context.run_udf(dataset=data, udf=udf_of(state, rows=ROWS, energy_axis=0), roi=sparse.COO(roi))
    np.testing.assert_array_equal(of_sparse["scores"].data, wanted.scores)


def test_learns_from_its_first_rows(contexts, counts):
    context = contexts("threads")
    data = context.load("memory", data=counts, sig_dims=1, num_partitions=9)
    udf = AnomalyUDF(baseline="pca:1", learn_rows=15, energy_offset=700, dispersion=0.3, config={"detection": {"fdr": 0.1}})
    for _ in range(2):  # it may be used again
        result = context.run_udf(dataset=data, udf=udf)
        wanted = eelsvae.Scan(baseline="pca:1", learn_rows=15, shape=counts.shape, energy_offset=700, dispersion=0.3,
                              config={"detection": {"fdr": 0.1}})
        wanted.push(0, counts.reshape(-1, 64))
        np.testing.assert_array_equal(result["scores"].data, wanted.finish().scores)
        assert bytes(udf.scan.state) == bytes(wanted.state)


def test_by_a_model(contexts, film, model):
    """The scores of a detection by it, whose state it has."""
    found = eelsvae.Session(model, threads=1).detect(film)
    data = contexts("threads").load("memory", data=film.counts, sig_dims=1, num_partitions=4)
    result = contexts("threads").run_udf(dataset=data, udf=udf_of(found.state, model=model, threads=1))
    np.testing.assert_array_equal(result["scores"].data, found.scores)
    with pytest.raises(eelsvae.Error, match="model"):
        contexts("threads").run_udf(dataset=data, udf=udf_of(found.state))


def test_says_what_is_wrong(contexts, tmp_path, state, counts):
    context = contexts("inline")
    frames = context.load("memory", data=frames_of(counts), sig_dims=2)
    spectra = context.load("memory", data=counts, sig_dims=1)
    line = context.load("memory", data=counts.reshape(-1, 64), sig_dims=1)
    with pytest.raises(eelsvae.Error, match="nothing was run"):
        udf_of(state).scan
    for data, given, says in [(frames, {"rows": (3, 11)}, "a frame has 10"), (frames, {"rows": (4, 4)}, "first < end"),
                              (spectra, {"rows": (0, 4)}, "spectra already"), (line, {}, "nav_shape"),
                              (frames, {"energy_axis": 0}, "eV")]:
        with pytest.raises(eelsvae.Error, match=says):
            context.run_udf(dataset=data, udf=udf_of(state, **given))
    with pytest.raises(eelsvae.Error, match="energy_axis"):
        udf_of(state, energy_axis=1)
    with pytest.raises(eelsvae.Error, match="one of state and baseline"):
        context.run_udf(dataset=spectra, udf=udf_of(None))
    with pytest.raises(eelsvae.Error, match="nowhere"):
        udf_of("/nowhere")
    state.save(tmp_path / "state.safetensors")
    assert context.run_udf(dataset=spectra, udf=udf_of(tmp_path / "state.safetensors"))["final"].data.all()
    with pytest.raises(eelsvae.Error, match="delayed"):
        contexts("delayed").run_udf(dataset=spectra, udf=udf_of(state))


def write_merlin(folder, frames):
    """As Merlin's own program writes a scan."""
    count, height, width = frames.shape
    with open(folder / "scan.mib", "wb") as file:
        for i, frame in enumerate(frames):
            header = (f"MQ1,{i + 1:06d},00384,01,{width:04d},{height:04d},U16,   1x1,01,2026-12-01 05:00:00.000000,0.001,"
                      f"{'0,' * 9}3RX,{'0,' * 9}16,")
            file.write(header.encode().ljust(384, b"\0") + frame.astype(">u2").tobytes())
    header = folder / "scan.hdr"
    header.write_text(f"HDR,\t\nFrames in Acquisition (Number):\t{count}\nFrames per Trigger (Number):\t{count}\n"
                      "Counter Depth (number):\t12\nEnd\t")
    return header


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.parametrize("workers", ["processes", "inline"])
def test_live_from_a_simulated_merlin(tmp_path, workers, state, counts):
    """LiberTEM-live's own simulator sends at 1000 frames/s; two processes, its default, or its main one receive."""
    header = write_merlin(tmp_path, frames_of(counts).reshape(576, 10, 64))
    data_port, control_port, trigger_port = free_ports(3)
    simulator = CameraSim(path=str(header), nav_shape=(24, 24), host="127.0.0.1", data_port=data_port,
                          control_port=control_port, trigger_port=trigger_port, dwelltime=1000)
    simulator.start()
    simulator.wait_for_listen()
    context = LiveContext.make_with("inline") if workers == "inline" else LiveContext()
    try:
        with context.make_connection("merlin").open(api_host="127.0.0.1", api_port=control_port, data_host="127.0.0.1",
                                                    data_port=data_port) as connection:
            acquisition = context.make_acquisition(conn=connection, nav_shape=(24, 24), frames_per_partition=50)
            udf = udf_of(state, rows=ROWS)
            there, final = [], []
            for result in context.run_udf_iter(dataset=acquisition, udf=udf):
                there.append(int(np.isfinite(result.buffers[0]["scores"].data).sum()))
                final.append(int(result.buffers[0]["final"].data.sum()))
    finally:
        context.close()
        simulator.stop()
    wanted = scan_of(counts, state)
    np.testing.assert_array_equal(result.buffers[0]["scores"].data, wanted.scores)
    assert there == sorted(there) and 0 < there[0] < there[-1] == final[-1] == 576 and final[0] == 0
    assert len([count for count in final if 0 < count < 576]) >= 2  # before the scan ends
    assert udf.scan.counts.received == 576 and not udf.scan.counts.missing
