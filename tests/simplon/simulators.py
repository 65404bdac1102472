#!/usr/bin/env python3
"""Receives from detectors that others simulate, and stands between one and a receiver that others wrote.

libertem-dectris has what `libertem-live-dectris-sim` sends (version 1) and LiberTEM-live's receiver; tickit-devices is
Diamond's EIGER with its HTTP interface, which sends an image of a real one (versions 1 and 2). Both are installed by
scripts/install-writers.sh. Numbers are compared with those that DECTRIS' own decompression gives.

Usage: simulators.py WRITERS_FOLDER SIMPLON_RECEIVE
"""
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

writers, receive = pathlib.Path(sys.argv[1]).absolute(), sys.argv[2]
python = writers / "detectors/bin/python"
if (writers / "no-index").exists():
    print("no package index")
    sys.exit(77)
if pathlib.Path(sys.prefix).resolve() != (writers / "detectors").resolve():
    os.execv(python, [str(python), *sys.argv])

import cbor2  # noqa: E402
import libertem_dectris  # noqa: E402
import numpy as np  # noqa: E402
import zmq  # noqa: E402
from dectris.compression import decompress  # noqa: E402


class Receiver:
    """simplon_receive while it runs; `lines` is what it printed so far."""

    def __init__(self, endpoint, scans=1, patience=60, **keys):
        self.folder = tempfile.TemporaryDirectory()
        arguments = [receive, endpoint, self.folder.name, str(scans), str(patience)]
        self.process = subprocess.Popen(arguments + [f"{key}={value}" for key, value in keys.items()],
                                        stdout=subprocess.PIPE, text=True)
        self.lines = []
        self.times = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            self.times.append(time.monotonic())

    def all(self, kind):
        return [line[kind] for line in self.lines if kind in line]

    def wait_for(self, what, seconds=60):
        """When the first line came for which `what` holds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line, when in zip(list(self.lines), list(self.times)):
                if what(line):
                    return when
            time.sleep(0.005)
        raise AssertionError(f"did not come: {self.lines}")

    def end(self):
        status = self.process.wait(120)
        self.reader.join()
        assert status == 0, (status, self.lines)
        return self

    def spectra(self, scan=0):
        started = self.all("started")[scan]
        numbers = np.fromfile(f"{self.folder.name}/{scan}.f32", "<f4")
        return numbers.reshape(started["height"], started["width"], started["channels"])


def connected(line):
    return "report" in line and line["report"].startswith("connected")


def broke(line):
    return "report" in line and " broke;" in line["report"]


def expected_spectrum(image):
    """Of the rows of an image; where columns have no data, NaN."""
    missing = image == np.iinfo(image.dtype).max
    there = len(image) - missing.sum(0)
    sums = np.where(missing, 0, image).sum(0, dtype=np.uint64)
    with np.errstate(invalid="ignore"):
        scaled = np.where(there == len(image), sums, sums.astype(float) * len(image) / there)
    return scaled.astype("<f4")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def libertem_simulator(frames, microseconds):
    return libertem_dectris.DectrisSim.new_mocked(uri="tcp://127.0.0.1", num_frames=frames, dwelltime=microseconds,
                                                  random_port=True)


def send_all(simulator):
    simulator.send_headers()
    simulator.send_frames()
    simulator.send_footer()


def test_libertem_thousand_a_second():
    frames = 1500
    simulator = libertem_simulator(frames, 1000)
    receiver = Receiver(simulator.get_uri(), height=30, width=50, first_row=10, last_row=130, first_column=12,
                        last_column=500, offset=100, dispersion=0.5)
    receiver.wait_for(connected)
    begin = time.monotonic()
    send_all(simulator)
    receiver.end()
    started, ended = receiver.all("started")[0], receiver.all("ended")[0]
    assert (started["images"], started["frame_time"], started["joined_late"]) == (frames, 0.001, False)
    assert (started["offset"], started["scale"], started["units"]) == (106.0, 0.5, "eV")
    assert ended["received"] == frames and ended["by_detector"], ended
    assert not any(value for key, value in ended.items() if key not in ("received", "by_detector")), ended
    # Every pixel of image i is i.
    assert (receiver.spectra() == 120.0 * np.arange(frames).reshape(30, 50, 1)).all()
    print(f"    {frames} images in {time.monotonic() - begin:.2f} s")


def test_libertem_receiver_behind_us():
    """LiberTEM-live's receiver gets from us what the detector sent."""
    frames = 200
    simulator = libertem_simulator(frames, 500)
    receiver = Receiver(simulator.get_uri(), height=1, width=frames, forward="tcp://127.0.0.1:*")
    receiver.wait_for(lambda line: "forwards" in line)
    with tempfile.TemporaryDirectory() as folder:
        behind = libertem_dectris.DectrisConnection(
            uri=receiver.all("forwards")[0], handle_path=f"{folder}/shm", frame_stack_size=16, num_slots=64,
            bytes_per_frame=512 * 512 * 2, huge=False)
        client = libertem_dectris.CamClient(behind.get_socket_path())
        behind.start_passive()
        receiver.wait_for(connected)
        receiver.wait_for(lambda line: line.get("report") == "a receiver takes the forwarded stream")
        sender = threading.Thread(target=send_all, args=[simulator])
        sender.start()
        while (armed := behind.wait_for_arm(timeout=1.0)) is None:
            pass
        assert armed[0].get_num_frames() == frames
        seen = []
        while (stack := behind.get_next_stack(max_size=16)) is not None:
            images = np.zeros((len(stack), 512, 512), np.uint16)
            client.decode_range_into_buffer(stack, images, 0, len(stack))
            client.done(stack)
            assert (images == images[:, :1, :1]).all()
            seen += images[:, 0, 0].tolist()
        sender.join()
        behind.close()
        client.close()
    receiver.end()
    counts, ended = receiver.all("counts")[0], receiver.all("ended")[0]
    assert seen == list(range(frames)), seen
    assert ended["received"] == frames, ended
    assert counts["not_forwarded"] == 0 and counts["forwarded"] == counts["messages"], counts


def test_killed_receiver():
    """Another takes the rest of the scan, and says what it did not see."""
    frames, rows, columns = 1200, 8, 20
    keys = {"height": 30, "width": 40}
    push = zmq.Context.instance().socket(zmq.PUSH)
    endpoint = f"tcp://127.0.0.1:{push.bind_to_random_port('tcp://127.0.0.1')}"
    events = push.get_monitor_socket(zmq.EVENT_DISCONNECTED)

    def send(begin, end):
        for i in range(begin, end):
            pixels = cbor2.CBORTag(69, np.full(rows * columns, i, "<u2").tobytes())
            push.send(cbor2.dumps({"type": "image", "series_id": 1, "image_id": i,
                                   "data": {"a": cbor2.CBORTag(40, [[rows, columns], pixels])}}))

    first = Receiver(endpoint, block=1, **keys)
    first.wait_for(connected)
    push.send(cbor2.dumps({"type": "start", "series_id": 1, "number_of_images": frames, "image_size_x": columns,
                           "image_size_y": rows}))
    send(0, frames // 2)
    first.wait_for(lambda line: "first" in line)
    first.process.kill()
    assert events.poll(60000), "the connection with a receiver that was killed did not end"
    second = Receiver(endpoint, **keys)
    second.wait_for(connected)
    send(frames // 2, frames)
    push.send(cbor2.dumps({"type": "end", "series_id": 1}))
    second.end()
    push.disable_monitor()
    push.close(0)
    started, ended = second.all("started")[0], second.all("ended")[0]
    assert started["joined_late"] and ended["by_detector"], second.lines
    assert ended["received"] == ended["lost"] == frames // 2, ended
    spectra = second.spectra().reshape(frames, -1)
    assert np.isnan(spectra[:frames // 2]).all()
    assert (spectra[frames // 2:] == float(rows) * np.arange(frames // 2, frames)[:, None]).all()


def test_killed_detector():
    """Is noticed, and the next one is received."""
    script = ("import sys, libertem_dectris as l; "
              "s = l.DectrisSim.new_mocked(uri='tcp://127.0.0.1:' + sys.argv[1], num_frames=1000, dwelltime=int(sys.argv[2])); "
              "print('there', flush=True); sys.stdin.readline(); "
              "s.send_headers(); s.send_frames(); s.send_footer(); sys.stdin.readline()")

    def simulator(port, microseconds):
        """None where the port is taken."""
        process = subprocess.Popen([python, "-c", script, str(port), str(microseconds)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        return process if process.stdout.readline() == "there\n" else None

    for _ in range(3):  # others may take the port before the simulator does
        port, = free_ports(1)
        detector = simulator(port, 10000)
        if detector:
            break
    assert detector, "the simulator does not start"
    receiver = Receiver(f"tcp://127.0.0.1:{port}", scans=2, height=25, width=40)
    receiver.wait_for(connected)
    detector.stdin.write("go\n")
    detector.stdin.flush()
    receiver.wait_for(lambda line: "first" in line)
    killed = time.monotonic()
    detector.kill()
    noticed = receiver.wait_for(broke) - killed
    assert noticed < 10, noticed
    detector.wait()
    lines = len(receiver.lines)
    detector = simulator(port, 1000)
    assert detector, "the port was taken by another program"
    receiver.wait_for(lambda line: connected(line) and line in receiver.lines[lines:])
    detector.stdin.write("go\n")
    detector.stdin.flush()
    receiver.end()
    detector.communicate("end\n")
    broken, whole = receiver.all("ended")
    assert not broken["by_detector"] and 0 < broken["received"] < 1000, broken
    assert broken["received"] + broken["lost"] + broken["not_sent"] == 1000, broken
    assert whole["by_detector"] and whole["received"] == 1000, whole
    print(f"    noticed after {1000 * noticed:.0f} ms")


class Tickit:
    """Diamond's simulator of an EIGER."""

    # Its sockets connect to themselves, too, which would take every second message away now and then.
    program = ("import aiozmq; stream = aiozmq.create_zmq_stream; "
               "aiozmq.create_zmq_stream = lambda kind, bind, connect: stream(kind, bind=bind); "
               "from tickit.cli import main; main()")

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        for _ in range(3):  # others may take the ports before the simulator does
            if self.starts():
                return self
        self.log.seek(0)
        raise AssertionError(f"the simulator does not start: {self.log.read()[-2000:]}")

    def starts(self):
        self.http, self.version1, self.version2 = free_ports(3)
        configuration = pathlib.Path(self.folder.name) / "eiger.yaml"
        configuration.write_text(f"- type: tickit_devices.eiger.Eiger\n  inputs: {{}}\n  name: eiger\n"
                                 f"  host: 127.0.0.1\n  port: {self.http}\n  stream_host: 127.0.0.1\n"
                                 f"  stream_legacy_port: {self.version1}\n  stream_cbor_port: {self.version2}\n")
        self.log = open(f"{self.folder.name}/log", "w+")
        self.process = subprocess.Popen([python, "-c", self.program, "all", configuration], stdout=self.log,
                                        stderr=subprocess.STDOUT)
        end = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.http), 1).close()
                return True
            except OSError:
                time.sleep(0.05)
        self.process.kill()
        self.process.wait()
        return False

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def put(self, path, value=None):
        body = b"" if value is None else json.dumps({"value": value}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}/{path}", body, method="PUT",
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200

    def acquire(self, stream_format, header_detail, images):
        self.put("stream/api/1.8.0/config/format", stream_format)
        self.put("stream/api/1.8.0/config/header_detail", header_detail)
        for key, value in (("nimages", images), ("ntrigger", 1), ("frame_time", 0.02), ("trigger_mode", "ints")):
            self.put(f"detector/api/1.8.0/config/{key}", value)
        for command in ("initialize", "arm", "trigger"):
            self.put(f"detector/api/1.8.0/command/{command}")


def check_tickit(version, stream_format, header_detail):
    from tickit_devices.eiger.data import dummy_image
    data = pathlib.Path(dummy_image.__file__).parent
    if version == 1:
        packed = (data / "frame_sample").read_bytes()
    else:
        numbers = cbor2.loads((data / "stream2/image.cbor").read_bytes())["data"]["threshold_1"].value[1]
        packed = numbers.value.value[2]
    image = np.frombuffer(decompress(packed, "bslz4", elem_size=2), "<u2").reshape(4362, 4148)
    spectrum = expected_spectrum(image[1000:1060])
    drawn = np.isnan(spectrum)
    assert 0 < drawn.sum() < 100  # between the modules
    with Tickit() as detector:
        receiver = Receiver(f"tcp://127.0.0.1:{detector.version1 if version == 1 else detector.version2}", height=2,
                            width=3, first_row=1000, last_row=1060)
        receiver.wait_for(connected)
        detector.acquire(stream_format, header_detail, 6)
        receiver.end()
    started, ended = receiver.all("started")[0], receiver.all("ended")[0]
    assert (started["images"], started["channels"], started["joined_late"]) == (6, 4148, False), receiver.lines
    assert (ended["received"], ended["lost"], ended["bad_messages"]) == (6, 0, 0), ended
    assert ended["by_detector"] and ended["drawn_columns"] == drawn.sum(), ended
    spectra = receiver.spectra().reshape(6, -1)
    assert np.isfinite(spectra).all()
    assert (spectra[:, ~drawn] == spectrum[~drawn]).all()


def test_tickit_version_1():
    check_tickit(1, "legacy", "basic")


def test_tickit_version_2_with_tables():
    check_tickit(2, "cbor", "all")


def test_messages_by_cbor2():
    """What cbor2 writes, in all types, with the scan in user_data."""
    random = np.random.default_rng(1)
    tags = {"u1": 64, ">u2": 65, ">u4": 66, "<u2": 69, "<u4": 70}
    for user_data in ({"scan_shape": [2, 2], "energy_offset": -5.5, "dispersion": 0.25, "who": ["else", None]},
                      '{"scan_shape": [2, 2], "energy_offset": -5.5, "dispersion": 0.25}'):
        for code, tag in tags.items():
            push = zmq.Context.instance().socket(zmq.PUSH)
            port = push.bind_to_random_port("tcp://127.0.0.1")
            receiver = Receiver(f"tcp://127.0.0.1:{port}", first_row=1, last_row=7, first_column=2, channel="b")
            receiver.wait_for(connected)
            images = random.integers(0, 255, (4, 9, 31)).astype(code)
            push.send(cbor2.dumps({"type": "start", "series_id": 7, "number_of_images": 4, "image_size_x": 31,
                                   "image_size_y": 9, "frame_time": 0.5, "channels": ["a", "b"],
                                   "user_data": user_data}))
            for i in (0, 2, 1, 3, 3):
                array = cbor2.CBORTag(40, [[9, 31], cbor2.CBORTag(tag, images[i].tobytes())])
                push.send(cbor2.dumps({"type": "image", "series_id": 7, "image_id": i, "real_time": [1, 2],
                                       "data": {"a": 0, "b": array}}))
            push.send(b"\xa1\x64type")
            push.send(cbor2.dumps({"type": "end", "series_id": 7}))
            receiver.end()
            push.close(0)
            started, ended = receiver.all("started")[0], receiver.all("ended")[0]
            assert (started["offset"], started["scale"], started["units"]) == (-5.0, 0.25, "eV"), started
            assert (started["height"], started["width"], started["frame_time"]) == (2, 2, 0.5), started
            assert (ended["received"], ended["repeated"], ended["out_of_order"]) == (4, 1, 1), ended
            assert (ended["lost"], ended["bad_messages"]) == (0, 1), ended
            assert (receiver.spectra().reshape(4, -1) == images[:, 1:7, 2:].sum(1, dtype=int)).all()


if len(sys.argv) > 3:
    globals()[sys.argv[3]]()
    sys.stdout.flush()
    os._exit(0)  # threads of a simulator may still wait

failed = 0
for name in [name for name in globals() if name.startswith("test_")]:
    begin = time.monotonic()
    try:
        status = subprocess.run([python, __file__, *sys.argv[1:3], name], timeout=180).returncode
    except subprocess.TimeoutExpired:
        status = "it hung"
    failed += status != 0
    print(f"{'FAILED' if status else 'passed'} {name} in {time.monotonic() - begin:.1f} s", flush=True)
sys.exit(failed > 0)
