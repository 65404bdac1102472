#!/usr/bin/env python3
"""A DECTRIS detector that others simulate, through eelsvae-serve, to a watcher with the Python client.

What the service scores is held against eelsvae-detect's scores of the summed frames, bit for bit. libertem-dectris, which
scripts/install-writers.sh installs, has what `libertem-live-dectris-sim` sends (version 1); frames of version 2 are
written by cbor2.

Usage: service.py WRITERS_FOLDER BUILD_FOLDER [NAME...]
"""
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

writers, build = pathlib.Path(sys.argv[1]).absolute(), pathlib.Path(sys.argv[2]).absolute()
python = writers / "detectors/bin/python"
if (writers / "no-index").exists():
    print("no package index")
    sys.exit(77)
if pathlib.Path(sys.prefix).resolve() != (writers / "detectors").resolve():
    os.execv(python, [str(python), *sys.argv])
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "apps"))

import cbor2  # noqa: E402
import numpy as np  # noqa: E402
import zmq  # noqa: E402
from serve_tools import Service, until  # noqa: E402
from eelsvae_client import Refused, Scan, Watch, status  # noqa: E402

BOUND = 2.0  # seconds within which a death is noticed
HEIGHT, WIDTH = 30, 50
FIRST_COLUMN, CHANNELS = 12, 64
OFFSET, DISPERSION = 100.0, 0.5  # of the detector's first column
REGION = f"10:130,{FIRST_COLUMN}:{FIRST_COLUMN + CHANNELS}"
ENERGIES = ["--energy-offset", str(OFFSET), "--dispersion", str(DISPERSION)]
SHAPE = ["--scan", f"{HEIGHT},{WIDTH}"]
LEARNING = ["--baseline", "mean", "--learn-rows", "10", "--set", "preprocess.xy_window=1"]


def film(seed):
    """Frames (pixel, rows, columns) of a film, few rows high; in one pixel there is a line that the others have not."""
    counts = np.linspace(60, 30, FIRST_COLUMN + CHANNELS)
    frames = np.random.default_rng(seed).poisson(counts, (HEIGHT * WIDTH, 6, len(counts)))
    frames[20 * WIDTH + 7, :, 40:50] += 25
    return frames.astype("<u2")


def sums(frames):
    return frames[:, :, FIRST_COLUMN:].sum(1, dtype=int).reshape(HEIGHT, WIDTH, CHANNELS).astype("<f4")


def detect(folder, name, image, *arguments, first_column=FIRST_COLUMN):
    """What eelsvae-detect makes of spectra: scores and summary."""
    np.save(f"{folder}/{name}.npy", image)
    axis = ["--set", f"data.energy_offset={OFFSET + DISPERSION * first_column}", "--set", f"data.dispersion={DISPERSION}"]
    done = subprocess.run([str(build / "eelsvae-detect"), f"{folder}/{name}.npy", "--output", f"{folder}/{name}", *arguments,
                           *axis], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return np.load(f"{folder}/{name}/scores.npy"), json.loads(pathlib.Path(f"{folder}/{name}/summary.json").read_text())


def state_of_film(folder):
    # LiberTEM's frames have one number in all pixels, which spectra without data have, too.
    detect(folder, "before", sums(film(1)), "--baseline", "mean", "--set", "preprocess.xy_window=1", "--set",
           "preprocess.set_aside=0")
    return ["--state", f"{folder}/before"]


def follow_to_its_end(watch, seconds=20):
    until(lambda: watch.summary is not None, seconds, "the end of the scan")
    return np.array(watch.scores, np.float32).reshape(HEIGHT, WIDTH)


class NextReceiver:
    """Of what the service forwards; from here on, both ends of the service are connected."""

    def __init__(self, service):
        self.pull = zmq.Context.instance().socket(zmq.PULL)
        self.pull.rcvhwm = 10000
        self.pull.connect("tcp://" + service.line("forwards its stream at tcp://(\\S+)")[1])
        for _ in range(2):
            service.line("connected with the detector|a receiver takes the forwarded stream")

    def take(self, messages):
        for i in range(messages):
            assert self.pull.poll(60000), f"{messages - i} of {messages} messages are not forwarded"
            self.pull.recv()

    def end(self):
        assert not self.pull.poll(200), "more than the detector sent"
        self.pull.close(0)


class Detector:
    """Sends frames as version 2 of the stream has them."""

    def __init__(self):
        self.push = zmq.Context.instance().socket(zmq.PUSH)
        self.push.linger = 0
        self.address = f"tcp://127.0.0.1:{self.push.bind_to_random_port('tcp://127.0.0.1')}"

    def start(self, series, frames, **more):
        self.frames, self.series = frames, series
        self.push.send(cbor2.dumps({"type": "start", "series_id": series, "number_of_images": len(frames),
                                    "image_size_x": frames.shape[2], "image_size_y": frames.shape[1],
                                    "channels": ["a"], **more}))

    def images(self, first, last):
        for i in range(first, last):
            array = cbor2.CBORTag(40, [list(self.frames.shape[1:]), cbor2.CBORTag(69, self.frames[i].tobytes())])
            self.push.send(cbor2.dumps({"type": "image", "series_id": self.series, "image_id": i, "data": {"a": array}}))

    def end(self):
        self.push.send(cbor2.dumps({"type": "end", "series_id": self.series}))

    def close(self):
        self.push.close(0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def test_libertem():
    """LiberTEM's simulator at 1,000 frames/s: all rows final, with the scores of a detection of the sums."""
    import libertem_dectris
    frames = HEIGHT * WIDTH
    with tempfile.TemporaryDirectory() as folder:
        state = state_of_film(folder)
        simulator = libertem_dectris.DectrisSim.new_mocked(uri="tcp://127.0.0.1", num_frames=frames, dwelltime=1000,
                                                           random_port=True)
        # Every pixel of frame i is i.
        image = np.broadcast_to(120.0 * np.arange(frames).reshape(HEIGHT, WIDTH, 1), (HEIGHT, WIDTH, CHANNELS))
        expected, summary = detect(folder, "scan", image.astype("<f4"), *state)
        with Service(build, "--simplon", simulator.get_uri(), *SHAPE, *ENERGIES, "--region", REGION,
                     source=state) as service, Watch(service.address) as watch:
            service.line("connected with the detector")
            service.line(f"spectra/s of scans of .30, 50. x {CHANNELS} channels can be scored")
            simulator.send_headers()
            simulator.send_frames()
            simulator.send_footer()
            scores = follow_to_its_end(watch)
            assert watch.final_rows == HEIGHT and watch.gaps == 0
            assert (scores == expected).all(), "other scores than a detection's"
            assert watch.threshold == summary["threshold"], (watch.threshold, summary["threshold"])
            told = status(service.address)["scan"]
            assert told["counts"] == {"received": frames, "repeated": 0, "late": 0, "missing": 0}, told
            assert told["channels"] == CHANNELS and told["state"] == "ended", told
            print(f"    {watch.summary}; ms after a row's end: {told['delay_ms']}")


def test_scan_of_user_data():
    """Version 2, what the service needs to know in the stream itself; the odd pixel is found. Then a second series."""
    with tempfile.TemporaryDirectory() as folder, Detector() as detector:
        state = state_of_film(folder)
        frames = film(2)
        expected, summary = detect(folder, "scan", sums(frames), *state)
        user_data = {"scan_shape": [HEIGHT, WIDTH], "energy_offset": OFFSET, "dispersion": DISPERSION}
        with Service(build, "--simplon", detector.address, "--region", f":,{FIRST_COLUMN}:", "--forward", "tcp://127.0.0.1:*",
                     source=state) as service, Watch(service.address) as watch:
            behind = NextReceiver(service)
            for series in 1, 2:
                detector.start(series, frames, user_data=user_data)
                detector.images(0, 900)
                behind.take(900)  # no more at once than wait for the next receiver
                until(lambda: watch.scan.get("series") == f"series {series}" and watch.final_rows > 0, 10, "the first rows")
                try:
                    Scan(service.address, (HEIGHT, WIDTH), CHANNELS, OFFSET, DISPERSION).close()
                    raise AssertionError("a client's scan began while the detector sends one")
                except Refused as line:
                    assert "of the detector is running" in str(line), line
                detector.images(900, len(frames))
                detector.end()
                scores = follow_to_its_end(watch)
                assert (scores == expected).all(), "other scores than a detection's"
                assert watch.threshold == summary["threshold"]
                assert np.argmax(scores) == 20 * WIDTH + 7 and scores.max() > watch.threshold
                behind.take(602)
            behind.end()


# LiberTEM's simulator in a process of its own: ADDRESS, FRAMES, MICROSECONDS from one to the next; sends when a line
# comes.
SIMULATOR = """
import sys, libertem_dectris
detector = libertem_dectris.DectrisSim.new_mocked(uri=sys.argv[1], num_frames=int(sys.argv[2]), dwelltime=int(sys.argv[3]))
print("there", flush=True)
sys.stdin.readline()
detector.send_headers()
detector.send_frames()
detector.send_footer()
sys.stdin.readline()
"""


def simulator(address, microseconds):
    """None where the address is taken."""
    process = subprocess.Popen([python, "-c", SIMULATOR, address, str(HEIGHT * WIDTH), str(microseconds)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process if process.stdout.readline() == "there\n" else None


def test_killed_detector():
    """Watchers are told within two seconds; the next one's series ends the scan and begins another."""
    for _ in range(3):  # others may take the port before the simulator does
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        detector = simulator(address, 10000)
        if detector:
            break
    assert detector, "the simulator does not start"
    with tempfile.TemporaryDirectory() as folder:
        with Service(build, "--simplon", address, *SHAPE, *ENERGIES, "--region", REGION,
                     source=state_of_film(folder)) as service, \
                Watch(service.address) as watch:
            service.line("connected with the detector")
            detector.stdin.write("go\n")
            detector.stdin.flush()
            until(lambda: watch.scored_rows > 0, 20, "the first rows")
            assert not watch.producer_lost
            detector.kill()
            took = until(lambda: watch.producer_lost, BOUND, "the watcher hears that the detector is gone")
            print(f"    told after {took:.2f} s")
            detector.wait()
            detector = simulator(address, 1000)
            assert detector, "the port was taken by another program"
            until(lambda: not watch.producer_lost, 5, "the watcher hears that it is back")
            detector.stdin.write("go\n")
            detector.stdin.flush()
            came = int(service.line("was broken off: ([0-9,]+) frames came")[1].replace(",", ""))
            service.line(f"ended:.* {HEIGHT * WIDTH - came:,} never came")
            until(lambda: watch.scan["series"].endswith("(2)") and watch.summary, 20, "the end of the next scan")
            counts = status(service.address)["scan"]["counts"]
            assert counts == {"received": HEIGHT * WIDTH, "repeated": 0, "late": 0, "missing": 0}, counts
            detector.communicate("end\n")


def test_killed_service():
    """Another one takes the rest of the scan; what it has not seen is missing."""
    with tempfile.TemporaryDirectory() as folder, Detector() as detector:
        arguments = ["--simplon", detector.address, *SHAPE, *ENERGIES, "--region", f":,{FIRST_COLUMN}:"]
        state, frames = state_of_film(folder), film(4)
        with Service(build, *arguments, source=state) as service, Watch(service.address) as watch:
            service.line("connected with the detector")
            detector.start(1, frames)
            detector.images(0, 16 * WIDTH)
            until(lambda: watch.final_rows > 0, 10, "the first rows")
            service.kill()
        with Service(build, *arguments, source=state) as service, Watch(service.address) as watch:
            service.line("connected with the detector")
            detector.images(16 * WIDTH, len(frames))
            detector.end()
            follow_to_its_end(watch)
            service.line("its start was not seen; the rest is taken")
            counts = status(service.address)["scan"]["counts"]
            assert counts["missing"] == 16 * WIDTH and counts["received"] == 14 * WIDTH, counts
            assert all(score != score for score in watch.scores[:16 * WIDTH])
            assert all(score == score for score in watch.scores[16 * WIDTH:])


def scored(service, series):
    """How many spectra of the detector's series are in the scan."""
    scan = status(service.address)["scan"] or {}
    return scan["counts"]["received"] if scan.get("series") == f"series {series}" else 0


def test_too_fast():
    """What finds no room to wait is not scored, and said; it is forwarded, and the next scan is whole."""
    frames = np.random.default_rng(5).poisson(40, (HEIGHT * WIDTH, 1, 2000)).astype("<u2")
    with tempfile.TemporaryDirectory() as folder, Detector() as detector:
        detect(folder, "before", frames.reshape(HEIGHT, WIDTH, 2000), "--baseline", "mean", first_column=0)
        with Service(build, "--simplon", detector.address, *SHAPE, *ENERGIES, "--queue", "2", "--forward", "tcp://127.0.0.1:*",
                     source=["--state", f"{folder}/before"]) as service, Watch(service.address) as watch:
            behind = NextReceiver(service)
            detector.start(1, frames, frame_time=1e-6)
            for first in range(0, len(frames), 300):  # while the capacity is measured
                detector.images(first, first + 300)
                behind.take(300)  # no more at once than wait for the next receiver
            detector.end()
            behind.take(2)
            expected = {"connected": True, "messages": 1502, "bad": 0, "forwarded": 1502, "not_forwarded": 0}
            until(lambda: status(service.address)["detector"] == expected, 5, f"the service says {expected}")
            service.line("series 1: scoring is too slow")
            left_out = int(service.line("1,500 frames came, ([0-9,]+) of them were not scored")[1].replace(",", ""))
            service.line("may send 1,?000,?000 spectra/s, and .* can be scored", 20)
            until(lambda: watch.summary is not None, 20, "the end of the scan")
            counts = status(service.address)["scan"]["counts"]
            assert counts["missing"] == left_out > 0 and counts["received"] == 1500 - left_out, (counts, left_out)
            behind.end()
            detector.start(2, frames)
            for y in range(HEIGHT):
                detector.images(y * WIDTH, (y + 1) * WIDTH)
                until(lambda: scored(service, 2) == (y + 1) * WIDTH, 10, f"row {y} is taken")
            detector.end()
            until(lambda: watch.scan["series"] == "series 2" and watch.summary is not None, 20, "the end of the next scan")
            counts = status(service.address)["scan"]["counts"]
            assert counts["missing"] == 0, counts
            print(f"    {left_out} of {len(frames)} not scored")


def test_what_cannot_be_scored():
    """Is said in a line, and the service goes on."""
    with Detector() as detector, Service(build, "--simplon", detector.address, source=LEARNING) as service:
        service.line("connected with the detector")
        frames = film(6)
        for series, user_data, line in ((1, {}, "no scan shape"),
                                        (2, {"scan_shape": [HEIGHT, WIDTH]}, "its energies are not known"),
                                        (3, {"scan_shape": [1 << 13, 1 << 12], "dispersion": 1.0}, "is not a scan of 1 to")):
            detector.start(series, frames, user_data=user_data)
            service.line(f"series {series}.*{line}")
            detector.images(0, 3)
            detector.end()
        user_data = {"scan_shape": [HEIGHT, WIDTH], "dispersion": 1.0}
        scan = Scan(service.address, (10, 10), 16, 0, 1)
        detector.start(4, frames, user_data=user_data)
        service.line("series 4 is not scored: .*which a client sends")
        scan.close()
        detector.images(0, 10)
        detector.end()
        detector.start(5, frames, user_data=user_data)
        detector.images(0, len(frames))
        detector.end()
        with Watch(service.address) as watch:
            until(lambda: watch.scan["series"] == "series 5" and watch.summary, 10, "the next scan")


def test_energies_of_another_state():
    """Are said before a series begins, and when it does."""
    with tempfile.TemporaryDirectory() as folder, Detector() as detector:
        with Service(build, "--simplon", detector.address, *SHAPE, "--energy-offset", "3", "--dispersion", "0.1", "--region",
                     f":,{FIRST_COLUMN}:{FIRST_COLUMN + CHANNELS}", source=state_of_film(folder)) as service:
            service.line("will be refused: .*eV")
            detector.start(1, film(7))
            service.line("scan 'series 1' was refused: .*eV")
            detector.images(0, 100)
            detector.end()
            service.line("series 1 ended: 100 frames came")
            assert status(service.address)["scan"] is None


def test_mistakes():
    program = str(build / "eelsvae-serve")
    detector = ["--simplon", "tcp://127.0.0.1:1"]
    for wrong, fragment in ((["--scan", "3,4"], "--simplon"), (["--queue", "3"], "--simplon"),
                            ([*detector, "--scan", "3"], "HEIGHT,WIDTH"), ([*detector, "--scan", "3,-4"], "HEIGHT,WIDTH"),
                            ([*detector, "--scan", "3,0"], "at least 1"), ([*detector, "--scan", "8192,8192"], "16777216"),
                            ([*detector, "--region", "9"], "--region"),
                            ([*detector, "--region", "9:9"], "--region"), ([*detector, "--region", "1:2,x:3"], "--region"),
                            ([*detector, "--dispersion", "0"], "dispersion"), ([*detector, "--queue", "0"], "--queue"),
                            ([*detector, "--forward", "nowhere"], "cannot be forwarded"),
                            (["--simplon", "there"], "no address")):
        refused = subprocess.run([program, *LEARNING, "--listen", "tcp://127.0.0.1:*", *wrong], capture_output=True, text=True,
                                 timeout=20)
        assert refused.returncode == 2 and fragment in refused.stderr, (wrong, refused)


tests = {name[5:]: function for name, function in list(globals().items()) if name.startswith("test_")}
for name in sys.argv[3:] or tests:
    began = time.monotonic()
    print(name, flush=True)
    tests[name]()
    print(f"    passed in {time.monotonic() - began:.1f} s", flush=True)
