"""eelsvae-serve from outside, by its Python client: a scan, watchers, programs that die, messages that are wrong, keys.

serve_test.py BUILD_FOLDER [NAME...]
Exit status 77 if pyzmq is missing.
"""
import array
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

try:
    import zmq
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

from serve_tools import (CHANNELS, HEIGHT, LEARNED, ODD, SETTINGS, START, WIDTH, Service, allowed, bound, root, row,
                         until)
import eelsvae_client
from eelsvae_client import Refused, Scan, ServiceLost, Watch, decode, encode, status

build = str(pathlib.Path(sys.argv[1]).absolute())
BOUND = 2.0  # seconds within which a death is noticed

# A client that sends rows from the first on until it is killed, saying each.
SENDER = f"""
import sys, time
sys.path[:0] = [{str(root / "tests/apps")!r}]
from serve_tools import *
from eelsvae_client import Scan
scan = Scan(sys.argv[1], series="film", **START)
for y in range(int(sys.argv[2])):
    scan.send(y * WIDTH, row(y))
    scan.flush()
    print(y, flush=True)
    time.sleep(0.01)
time.sleep(60)
"""


def start_sender(address, rows):
    sender = subprocess.Popen([sys.executable, "-c", SENDER, address, str(rows)], stdout=subprocess.PIPE, text=True)
    for y in range(rows):
        assert sender.stdout.readline().strip() == str(y)
    return sender


def answer_to(socket, kind):
    """The next message of a type on a bare connection."""
    while True:
        assert socket.poll(int(1000 * allowed(5))), f"no {kind} in {bound(5)}"
        found = decode(socket.recv())
        if found["type"] == kind:
            return found


def worst(scores, threshold):
    """The two pixels that fit worst, which are above the threshold; a filter makes their neighbours fit badly, too."""
    first = sorted((i for i, score in enumerate(scores) if score > threshold), key=lambda i: -scores[i])[:len(ODD)]
    return sorted(divmod(i, WIDTH) for i in first)


def test_scan():
    """A scan with two watchers, one of which comes late: the same scores, provisional before final."""
    with Service(build) as service:
        seen = []
        with Watch(service.address) as early:
            with Scan(service.address, title="a film", on_scores=seen.append, **START) as scan:
                for y in range(HEIGHT):
                    if y == 30:
                        late = Watch(service.address)
                    half = WIDTH // 2
                    values = row(y)
                    scan.send(y * WIDTH + half, values[half * CHANNELS:])  # out of order
                    scan.send(y * WIDTH, values[:half * CHANNELS])
                    scan.flush()
                    time.sleep(0.01)
            assert scan.ended["counts"] == {"received": HEIGHT * WIDTH, "repeated": 0, "late": 0, "missing": 0}, scan.ended
            assert "do not fit" in scan.summary
            for watch in (early, late):
                for message in watch.updates(5):
                    pass
                assert watch.summary == scan.summary
                assert watch.scores == scan.scores, "watchers see other scores than the sender"
                assert watch.final_rows == HEIGHT and watch.gaps == 0
            late.close()
        assert worst(scan.scores, scan.threshold) == ODD, worst(scan.scores, scan.threshold)
        finals = [m["first_row"] for m in seen if m["final"]]
        assert finals == sorted(finals) and sum(m["rows"] for m in seen if m["final"]) == HEIGHT
        assert any(not m["final"] for m in seen)
        told = status(service.address)["scan"]
        assert told["state"] == "ended" and told["anomalous"] >= len(ODD)
        # Who comes when all is over is told all.
        with Watch(service.address) as last:
            until(lambda: last.summary, 5, "the end of a scan that has ended")
            assert last.scores == scan.scores
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(allowed(5)) == 0, service.process.returncode


def write_npy(path, rows):
    header = f"{{'descr': '<u2', 'fortran_order': False, 'shape': ({HEIGHT}, {WIDTH}, {CHANNELS}), }}"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.ljust(117).encode() + b"\n")
        for values in rows:
            file.write(values.tobytes())


def test_scores_are_those_of_a_detection():
    """By a kept state a running scan gets bit for bit what a detection with that state gives the whole image."""
    with tempfile.TemporaryDirectory() as folder:
        def detect(name, *arguments):
            subprocess.run([str(pathlib.Path(build) / "eelsvae-detect"), f"{folder}/{name}.npy", "--output", f"{folder}/{name}",
                            *arguments], check=True, capture_output=True, timeout=60)
        axis = ["--set", f"data.energy_offset={START['energy_offset']}", "--set", f"data.dispersion={START['dispersion']}"]
        write_npy(f"{folder}/before.npy", [row(y + 100) for y in range(HEIGHT)])
        write_npy(f"{folder}/scan.npy", [row(y) for y in range(HEIGHT)])
        detect("before", "--baseline", "mean", *SETTINGS, *axis)
        detect("scan", "--state", f"{folder}/before", *axis)
        with Service(build, source=["--state", f"{folder}/before"]) as service, Scan(service.address, **START) as scan:
            for y in range(HEIGHT):
                scan.send(y * WIDTH, row(y))
        offline = pathlib.Path(f"{folder}/scan/scores.npy").read_bytes()
        assert offline[-4 * HEIGHT * WIDTH:] == scan.scores.tobytes(), "a running scan has other scores than a detection"
        assert scan.threshold == json.loads(pathlib.Path(f"{folder}/scan/summary.json").read_text())["threshold"]
        assert worst(scan.scores, scan.threshold) == ODD
        # Other energies than the state's are refused before the scan begins.
        with Service(build, source=["--state", f"{folder}/before"]) as service:
            try:
                Scan(service.address, **{**START, "dispersion": 0.4}).close()
                raise AssertionError("other energies than the state's were taken")
            except Refused as line:
                assert "eV" in str(line), line


def test_scores_by_a_model_are_those_of_a_detection():
    """The same of a network, for two scans after each other; what comes faster than it computes is refused before."""
    with tempfile.TemporaryDirectory() as folder:
        def program(name, *arguments):
            subprocess.run([str(pathlib.Path(build) / f"eelsvae-{name}"), *arguments], cwd=folder, check=True, timeout=60,
                           capture_output=True)
        axis = ["--set", f"data.energy_offset={START['energy_offset']}", "--set", f"data.dispersion={START['dispersion']}"]
        pathlib.Path(f"{folder}/tiny.json").write_text(json.dumps({
            "preprocess": {"xy_window": 1}, "tiles": {"image_size": 8, "sliding_window_stride": 4},
            "model": {"channels": [2, 3, 4, 5], "hidden": 8, "latent_dim": 3}, "loss": {"dose": 100},
            "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.01, "seed": 1}, "precision": "fp32"}))
        for name, first in ("before", 100), ("scan", 0), ("next", 200):
            write_npy(f"{folder}/{name}.npy", [row(y + first) for y in range(HEIGHT)])
        program("train", "tiny.json", "--data", "before.npy", "--output", "run", *axis)
        program("detect", "before.npy", "--model", "run", "--output", "before", *axis)
        for name in "scan", "next":
            program("detect", f"{name}.npy", "--model", "run", "--state", "before", "--output", name, *axis)
        source = ["--model", f"{folder}/run", "--state", f"{folder}/before"]
        with Service(build, source=source) as service:
            for name, first in ("scan", 0), ("next", 200):
                with Scan(service.address, **START) as scan:
                    for y in range(HEIGHT):
                        scan.send(y * WIDTH, row(y + first))
                offline = pathlib.Path(f"{folder}/{name}/scores.npy").read_bytes()
                assert offline[-4 * HEIGHT * WIDTH:] == scan.scores.tobytes(), f"{name}: other scores than a detection's"
                summary = json.loads(pathlib.Path(f"{folder}/{name}/summary.json").read_text())
                assert scan.threshold == summary["threshold"], (scan.threshold, summary["threshold"])
            capacity = status(service.address)["scan"]["capacity"]
            try:
                Scan(service.address, rate=1.01 * capacity, **START).close()
                raise AssertionError("more than can be scored was taken")
            except Refused as line:
                assert "can be scored here" in str(line), line
            print(f"  {capacity:.0f} spectra/s")
        for wrong, fragment in ((["--state", f"{folder}/before"], "--model RUN"), (["--model", f"{folder}/run"], "--state"),
                                (["--baseline", "mean", "--model", f"{folder}/run"], "--state"),
                                (source + ["--set", "detection.fdr=0.1"], "detection.fdr")):
            refused = subprocess.run([str(pathlib.Path(build) / "eelsvae-serve"), *wrong], capture_output=True, text=True,
                                     timeout=20)
            assert refused.returncode == 2 and fragment in refused.stderr, refused


def test_a_network_learns_from_the_first_scan():
    """It scores that scan anew, for who watches, and the next one from the beginning, as a detection by it does."""
    with tempfile.TemporaryDirectory() as folder:
        network = ["--baseline", "local", "--learn-rows", str(LEARNED), "--train", "0.1", "--output", f"{folder}/live",
                   *SETTINGS, "--set", "tiles.image_size=8", "--set", "model.channels=[2,3,4,5]"]
        with Service(build, source=network) as service, Watch(service.address) as watch:
            with Scan(service.address, series="first", **START) as scan:
                until(lambda: scan.scan, 5, "what scores is told")
                assert "local" in scan.scan["scored_by"], scan.scan
                for y in range(HEIGHT):
                    scan.send(y * WIDTH, row(y))
            before = scan.scores.tobytes()
            service.line("a network learns from")
            service.line("from now on", 60)
            until(lambda: "found" in (watch.scan or {}).get("scored_by", ""), 30, "the scan is scored anew")
            until(lambda: watch.ended and watch.final_rows == HEIGHT, 10, "and all of it told")
            assert scan.scores.tobytes() == before, "who sent it has gone"
            again = watch.scores.tobytes()
            assert again != before
            scored_by = []
            with Scan(service.address, series="next", on_scan=lambda scan: scored_by.append(scan["scored_by"]), **START) as scan:
                for y in range(HEIGHT):
                    scan.send(y * WIDTH, row(y))
            assert len(scored_by) == 1 and "found" in scored_by[0], scored_by
            assert scan.scores.tobytes() == again, "the same spectra have other scores"
        found = f"{folder}/live/1/found"
        assert os.path.exists(f"{found}/report.html"), os.listdir(found)
        model = ["--model", f"{found}/model"] if "model" in scan.scan["scored_by"] else []
        subprocess.run([f"{build}/eelsvae-detect", f"{folder}/live/1/scan.npy", *model, "--state", found, "--output",
                        f"{folder}/offline", "--set", f"data.energy_offset={START['energy_offset']}", "--set",
                        f"data.dispersion={START['dispersion']}"], check=True, capture_output=True, timeout=60)
        offline = pathlib.Path(f"{folder}/offline/scores.npy").read_bytes()
        assert offline[-4 * HEIGHT * WIDTH:] == again, "a detection has other scores"
        for wrong, fragment in ((["--state", found, "--train", "1"], "--train"),
                                (["--baseline", "mean", "--output", folder], "--train"),
                                (["--baseline", "mean", "--train", "0"], "minutes"),
                                (["--baseline", "mean", "--train", "1", "--set", "preprocess.align=zero_loss"], "align")):
            refused = subprocess.run([f"{build}/eelsvae-serve", *wrong], capture_output=True, text=True, timeout=20)
            assert refused.returncode == 2 and fragment in refused.stderr, refused


def test_sender_is_killed():
    """The service says so within two seconds; the scan goes on with the rows that remain."""
    with Service(build) as service:
        with Scan(service.address, series="whole", **START) as whole:
            for y in range(HEIGHT):
                whole.send(y * WIDTH, row(y))
        with Watch(service.address) as watch:
            sender = start_sender(service.address, 15)
            until(lambda: watch.scan["series"] == "film", 5, "the next scan is told")
            sender.kill()
            sender.wait()
            took = until(lambda: watch.producer_lost, BOUND, "the watcher hears that the sender died")
            service.line("waits for one that resumes it", 1)
            with Watch(service.address) as late:
                assert late.producer_lost, "who comes later does not know that the sender is gone"
            print(f"  death of the sender told after {took:.2f} s; bound {bound(BOUND)}")
            other = Scan(service.address, resume=True, series="film", **START)
            assert other.resumed and other.missing == [(15 * WIDTH, (HEIGHT - 15) * WIDTH)], other.missing
            until(lambda: not watch.producer_lost, 2, "the watcher hears that somebody sends again")
            with other:
                for first, count in other.missing:
                    for y in range(first // WIDTH, (first + count) // WIDTH):
                        other.send(y * WIDTH, row(y))
            assert other.ended["counts"]["missing"] == 0
            assert other.scores == whole.scores, "a scan with an interruption has other scores"
            until(lambda: watch.summary, 5, "the end")
            assert watch.scores == whole.scores


def test_sender_stands_still():
    """A program that is held up is lost and comes back."""
    with Service(build) as service, Watch(service.address) as watch:
        sender = start_sender(service.address, 3)
        sender.send_signal(signal.SIGSTOP)
        until(lambda: watch.producer_lost, BOUND + 0.1, "the watcher hears of a sender that stands still")
        sender.send_signal(signal.SIGCONT)
        until(lambda: not watch.producer_lost, BOUND, "the watcher hears that it is back")
        # Another one takes its place while it is there.
        with Scan(service.address, resume=True, series="film", **START) as scan:
            assert scan.received == 3 * WIDTH
        sender.kill()
        sender.wait()


def test_service_is_killed():
    """Clients say so within two seconds; another service takes the remaining rows, the others are missing."""
    with Service(build) as service:
        scan, watch = Scan(service.address, series="film", **START), Watch(service.address)
        for y in range(12):
            scan.send(y * WIDTH, row(y))
        scan.flush()
        service.kill()
        begin = time.monotonic()
        try:
            while True:
                for message in watch.updates(5):
                    pass
        except ServiceLost as lost:
            print(f"  death of the service told to watchers after {time.monotonic() - begin:.2f} s (bound {bound(BOUND)}): {lost}")
        try:
            scan.end()
            raise AssertionError("a scan ended without a service")
        except ServiceLost:
            pass
        took = time.monotonic() - begin
        assert took < allowed(BOUND), f"told after {took:.2f} s, and not within {bound(BOUND)}"
        try:
            scan.send(0, row(0))
            raise AssertionError("spectra went to no service")
        except ServiceLost:
            pass
        scan.close()
        watch.close()
    with Service(build, listen=service.address) as again:
        with Scan(again.address, series="film", resume=True, **START) as rest:
            assert not rest.resumed
            for y in range(12, HEIGHT):
                rest.send(y * WIDTH, row(y))
        assert rest.ended["counts"]["missing"] == 12 * WIDTH, rest.ended
        assert rest.ended["counts"]["received"] == (HEIGHT - 12) * WIDTH
        assert all(score != score for score in rest.scores[:12 * WIDTH])
        assert ODD[1] in worst(rest.scores, rest.threshold)


def test_service_is_started_anew_at_once():
    """Clients of the one before hear that this one does not know them."""
    with Service(build) as service:
        scan = Scan(service.address, series="film", **START)
        service.kill()
        with Service(build, listen=service.address):
            try:
                until(lambda: scan._error, BOUND, "the client hears of the new service")
                scan.flush()
                scan.send(0, row(0))
                raise AssertionError("a service that was started anew went unnoticed")
            except ServiceLost as lost:
                print(f"  {lost}")
            scan.close()


def test_watcher_is_killed():
    """The scan goes on as if nothing were."""
    watching = f"""
import sys
sys.path[:0] = [{str(root / "python")!r}]
from eelsvae_client import Watch
watch = Watch(sys.argv[1])
for message in watch.updates():
    print(message["type"], flush=True)
"""
    with Service(build) as service, Scan(service.address, **START) as scan:
        watcher = subprocess.Popen([sys.executable, "-c", watching, service.address], stdout=subprocess.PIPE, text=True)
        assert watcher.stdout.readline()
        scan.send(0, row(0))
        watcher.kill()
        watcher.wait()
        for y in range(1, HEIGHT):
            scan.send(y * WIDTH, row(y))
        service.line("a watching client went away", BOUND)
        until(lambda: status(service.address)["clients"] == 1, BOUND, "the watcher is forgotten")


def test_spectra_come_twice_and_late():
    with Service(build) as service, Scan(service.address, **START) as scan:
        scan.send(0, row(0)[:CHANNELS])
        scan.send(0, row(0))
        for y in range(2, HEIGHT):
            scan.send(y * WIDTH, row(y))
        scan.send(WIDTH, row(1))
        counts = scan.end()["counts"]
        assert counts == {"received": (HEIGHT - 1) * WIDTH, "repeated": 1, "late": WIDTH, "missing": WIDTH}, counts


def test_what_is_wrong_is_refused():
    with Service(build) as service:
        def refusal(**changes):
            try:
                Scan(service.address, **{**START, **changes}).close()
            except Refused as line:
                return str(line)
            raise AssertionError(f"taken: {changes}")
        assert "can be scored here" in refusal(rate=1e9)
        assert "shape" in refusal(shape=(1 << 20, 1 << 20))
        assert "rows of 2097152 spectra" in refusal(shape=(1, 1 << 21), channels=4)
        assert "channels" in refusal(channels=1 << 20)
        assert "dispersion" in refusal(dispersion=0)
        scan = Scan(service.address, **START)
        assert "is running" in refusal(series="another")
        # Bytes are taken as they are, numbers of another type are not.
        for wrong, kind in ((array.array("f", [1] * CHANNELS), TypeError), (b"123", ValueError),
                            (array.array("B", [1] * 2 * CHANNELS), TypeError)):
            try:
                scan.send(0, wrong)
                raise AssertionError("taken")
            except kind:
                pass
        scan.send(HEIGHT * WIDTH - 1, row(0))
        try:
            scan.flush()
            raise AssertionError("pixels beyond the scan were taken")
        except Refused as line:
            assert "beyond the scan" in str(line), line
        scan.close()
        until(lambda: status(service.address)["scan"]["state"] == "producer lost", 5, "the sender has left")
        floats = Scan(service.address, **{**START, "dtype": "float32"})
        floats.send(0, array.array("f", [float("nan")] * CHANNELS))
        try:
            floats.flush()
            raise AssertionError("NaN was taken")
        except Refused as line:
            assert "finite" in str(line), line
        # Nothing has come of which anything could be learned.
        try:
            floats.end()
            raise AssertionError("a scan of nothing ended")
        except Refused as line:
            assert "nothing can be learned" in str(line), line
        floats.close()


def test_who_watches_is_not_bothered_by_others():
    """A start that is refused leaves its client what it was; a scan that fails ends its sender, not who watches."""
    with Service(build) as service:
        watcher = zmq.Context.instance().socket(zmq.DEALER)
        watcher.linger = 0
        watcher.connect(service.address)
        start = {"type": "start", "version": 1, "series": "film", **START, "shape": list(START["shape"])}
        watcher.send(encode({"type": "watch"}))
        assert answer_to(watcher, "scan")["state"] == "none"
        watcher.send(encode({**start, "rate": 1e9}))
        assert answer_to(watcher, "error")["refused"]
        scan = Scan(service.address, series="other", **START)
        assert answer_to(watcher, "scan")["series"] == "other", "who was refused is not told of scans any more"
        scan.close()
        until(lambda: status(service.address)["scan"]["state"] == "producer lost", 5, "the sender has left")
        # Another scan that is refused does not give up the one that waits.
        watcher.send(encode({**start, "rate": 1e9}))
        assert answer_to(watcher, "error")["refused"]
        assert status(service.address)["scan"]["series"] == "other"
        assert not any("given up" in line for line in [*service.seen, *service.lines.queue])
        # Nothing can be learned of nothing.
        watch = Watch(service.address)
        scan = Scan(service.address, series="other", resume=True, **START)
        try:
            scan.end()
            raise AssertionError("a scan of nothing ended")
        except Refused as line:
            assert "nothing can be learned" in str(line), line
        scan.close()
        last = list(watch.updates(10))[-1]
        assert last["type"] == "scan" and last["state"] == "failed" and "nothing can be learned" in last["failure"], last
        assert watch.summary is None
        with Scan(service.address, series="next", **START) as scan:
            until(lambda: watch.scan["series"] == "next", 5, "the watcher is told of the next scan")
            for y in range(HEIGHT):
                scan.send(y * WIDTH, row(y))
        for message in watch.updates(10):
            pass
        assert watch.summary == scan.summary
        watch.close()
        watcher.close()


def test_maps_are_shown_once_a_second():
    """Whoever asks for all again and again does not get it more often; the last question is answered."""
    with Service(build) as service, Scan(service.address, **START) as scan:
        for y in range(HEIGHT):
            scan.send(y * WIDTH, row(y))
        scan.flush()
        socket = zmq.Context.instance().socket(zmq.DEALER)
        socket.linger = 0
        socket.connect(service.address)
        begin, shown = time.monotonic(), 0
        while time.monotonic() - begin < 2.5:
            socket.send(encode({"type": "watch"}))
            if socket.poll(20):
                shown += decode(socket.recv())["type"] == "scan"
        while True:  # the last question is answered, too
            assert socket.poll(int(1000 * allowed(5))), f"shown {shown} times"
            if decode(socket.recv())["type"] == "scan":
                break
        shown += 1
        took = time.monotonic() - begin
        assert 2 <= shown <= 1 + took, f"shown {shown} times in {took:.1f} s"
        socket.close()


def test_start_of_a_client_that_is_refused_leaves_the_detectors():
    """What a detector begins meanwhile is scored; where the client's start is taken it is said that it is not."""
    detector = zmq.Context.instance().socket(zmq.PUSH)
    detector.linger = 0
    port = detector.bind_to_random_port("tcp://127.0.0.1")
    start = {"type": "start", "version": 1, "series": "film", **START, "shape": list(START["shape"])}
    with Service(build, "--simplon", f"tcp://127.0.0.1:{port}") as service, Watch(service.address) as watch:
        client = zmq.Context.instance().socket(zmq.DEALER)
        client.linger = 0
        client.connect(service.address)
        for number, rate, kind in (1, 1e9, "error"), (2, 1, "started"):
            # Of another size each: how fast it is scored is measured, which takes a while.
            client.send(encode({**start, "channels": CHANNELS + number, "rate": rate}))
            until(lambda: status(service.address)["clients"] == 2, 5, "the client's start is being decided")
            detector.send(encode({"type": "start", "series_id": number, "number_of_images": HEIGHT * WIDTH, "image_size_x": 128,
                                  "image_size_y": 8, "channels": ["a"],
                                  "user_data": {"scan_shape": [HEIGHT, WIDTH], "energy_offset": 1, "dispersion": 0.5}}))
            answer_to(client, kind)
            if kind == "error":
                until(lambda: watch.scan.get("series") == "series 1", 5, "the detector's series begins")
                detector.send(encode({"type": "end", "series_id": number}))
                until(lambda: watch.scan.get("state") == "failed", 10, "it ends")
            else:
                notice = answer_to(client, "notice")
                assert notice["series"] == "series 2" and "which a client sends" in notice["message"], notice
        client.close()
    detector.close()


def test_scan_that_has_ended_keeps_what_it_found():
    """Another scan begins before the first one's connection is closed."""
    with Service(build) as service:
        with Scan(service.address, series="first", **START) as scan:
            for y in range(HEIGHT):
                scan.send(y * WIDTH, row(y))
            ended = scan.end()
            scores = scan.scores[:]
            for series in "second", "first":  # another one may take its name, too
                with Scan(service.address, series=series, **START) as other:
                    for y in range(HEIGHT):
                        other.send(y * WIDTH, row(y + 100))
                assert other.summary and other.scores != scores
                status(service.address)
                time.sleep(0.1)
                assert scan.ended == ended and scan.summary == ended["summary"] and scan.scores == scores
                assert scan.scan["series"] == "first"
            assert [message["type"] for message in scan.updates(1)][-1] == "ended"
        assert scan.ended == ended


def test_closing():
    """Ends what waits, and callbacks; what is called later says that it was closed."""
    with Service(build) as service:
        scan, watch = Scan(service.address, **START), Watch(service.address)
        found = []
        readers = [threading.Thread(target=lambda each=each: found.extend(each.updates())) for each in (scan, watch)]
        for reader in readers:
            reader.start()
        time.sleep(0.1)
        for each, reader in zip((scan, watch), readers):
            each.close()
            reader.join(allowed(5))
            assert not reader.is_alive(), "updates() waits for a connection that was closed"
        for call in (lambda: scan.send(0, row(0)), scan.end):
            try:
                call()
                raise AssertionError("a connection that was closed was used")
            except ValueError as line:
                assert "was closed" in str(line), line
        until(lambda: status(service.address)["scan"]["state"] == "producer lost", 5, "the sender has left")
        with Scan(service.address, **START) as scan:
            scan.send(0, row(0))
            scan.close()
        assert scan.ended is None
        until(lambda: status(service.address)["scan"]["state"] == "producer lost", 5, "the sender has left")

        calls, over = [], False

        def slow(message):
            assert not over, "a callback comes after the end"
            time.sleep(0.05)
            calls.append(message)
        with Scan(service.address, on_scores=slow, **START) as scan:
            for y in range(HEIGHT):
                scan.send(y * WIDTH, row(y))
        over = True
        assert sum(message["rows"] for message in calls if message["final"]) == HEIGHT

        def wrong(message):
            raise KeyError("of the callback")
        try:
            with Scan(service.address, on_scores=wrong, **START) as scan:
                for y in range(HEIGHT):
                    scan.send(y * WIDTH, row(y))
            raise AssertionError("what a callback raised was lost")
        except KeyError:
            pass


def test_updates_are_kept_for_who_reads_them():
    with Service(build) as service:
        watch = Watch(service.address)
        with Scan(service.address, **START) as scan:
            for y in range(HEIGHT):
                scan.send(y * WIDTH, row(y))
        until(lambda: watch.summary, 10, "the end")
        assert not watch._updates, "updates are kept that nobody reads"
        told = list(watch.updates(5))
        assert [message["type"] for message in told] == ["scan", "scores", "regions", "ended"], told
        assert told[1]["scores"] == scan.scores and told[1]["rows"] == HEIGHT and watch.scores == scan.scores
        watch.close()
        # One who reads too slowly gets all anew.
        most, eelsvae_client.MOST_UPDATES = eelsvae_client.MOST_UPDATES, 3
        try:
            with Watch(service.address) as watch:
                next(watch.updates(5))
                with Scan(service.address, **START) as scan:
                    for y in range(HEIGHT):
                        scan.send(y * WIDTH, row(y))
                        scan.flush()
                        time.sleep(0.01)
                until(lambda: watch.gaps > 0, 5, "updates that were not read are a gap")
                for message in watch.updates(5):
                    pass
                until(lambda: watch.scores == scan.scores, 5, "all is told anew")
        finally:
            eelsvae_client.MOST_UPDATES = most


def test_hostile_messages():
    """Whatever comes over the wire is answered by a line, and the scan of somebody else goes on."""
    with Service(build) as service, Scan(service.address, series="film", **START) as scan:
        context = zmq.Context.instance()
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.connect(service.address)

        def answer():
            assert socket.poll(int(1000 * allowed(2))), f"no answer in {bound(2)}"
            return decode(socket.recv())

        block = {"type": "block", "series": "film", "number": 0, "first": 0, "count": 1, "data": bytes(2 * CHANNELS)}
        for message in (b"", b"\xff", b"\x81" * 100000, b"\xa1\x64type\x9b" + b"\x7f" + b"\xff" * 7, encode(block),
                        encode({"type": "end", "series": "film"}), encode({"type": "beat"}), encode({"type": "start"}),
                        encode(block)[:-1], bytes(1 << 20)):
            socket.send(message)
            found = answer()
            assert found["type"] == "error" and len(found["message"]) < 300, found
        socket.send_multipart([encode({"type": "status"})] * 3)
        assert answer()["type"] == "error"
        other = context.socket(zmq.DEALER)
        other.linger = 0
        other.connect(service.address)
        other.send(bytes(32 << 20))  # larger than any message: the connection is closed, and made anew
        socket.send(encode({"type": "status"}))
        assert answer()["type"] == "status"
        for y in range(HEIGHT):
            scan.send(y * WIDTH, row(y))
        socket.close()
        other.close()
    assert scan.ended["counts"]["missing"] == 0


def test_connections_have_any_names():
    """A program may name its connection as it likes, with a zero byte first, too."""
    for name in b"\0detector", b"\0detector start", b"\0detector end", b"\0":
        with Service(build) as service:
            socket = zmq.Context.instance().socket(zmq.DEALER)
            socket.linger = 0
            socket.setsockopt(zmq.IDENTITY, name)
            socket.connect(service.address)
            socket.send(encode({"type": "start", "version": 1, "series": "film", **START, "shape": list(START["shape"])}))
            answer_to(socket, "started")
            block = {"type": "block", "series": "film", "number": 0, "first": 0, "count": 1, "data": bytes(2 * CHANNELS)}
            socket.send(encode(block))
            answer_to(socket, "taken")
            socket.send(encode({"type": "end", "series": "another"}))
            assert answer_to(socket, "error")["refused"]
            socket.send(encode({"type": "start", "version": 1, "series": "other", **START, "shape": list(START["shape"])}))
            assert "end it first" in answer_to(socket, "error")["message"]
            socket.close()
            assert status(service.address)["scan"]["series"] == "film"


def test_lost_blocks_are_seen():
    """Numbers that are left out, and more on the way than may be; a client that keeps to it gets all of a larger scan through."""
    shape = (150, 2 * WIDTH)
    with Service(build, "--window", "1") as service:
        socket = zmq.Context.instance().socket(zmq.DEALER)
        socket.linger = 0
        socket.connect(service.address)
        socket.send(encode({"type": "start", "version": 1, "series": "film", **START, "shape": list(shape)}))
        assert answer_to(socket, "started")["window"] == 1 << 20
        block = {"type": "block", "series": "film", "number": 0, "first": 0, "count": 1, "data": bytes(2 * CHANNELS)}
        socket.send(encode(block))
        assert answer_to(socket, "taken")["number"] == 0
        socket.send(encode({**block, "number": 2}))
        found = answer_to(socket, "error")
        assert "blocks are lost" in found["message"] and found["fatal"] and found["number"] == 2, found
        count = (1 << 20) // (2 * CHANNELS) + 1
        socket.send(encode({**block, "number": 1, "count": count, "data": bytes(count * 2 * CHANNELS)}))
        found = answer_to(socket, "error")
        assert "outstanding" in found["message"] and found["number"] == 1, found
        socket.close()
        with Scan(service.address, series="film", resume=True, **{**START, "shape": shape}) as scan:
            assert scan.received == 1
            for y in range(0, shape[0], 30):
                scan.send(y * shape[1], array.array("H", b"".join((row(i) + row(i + 500)).tobytes() for i in range(y, y + 30))))
        assert scan.ended["counts"] == {"received": shape[0] * shape[1], "repeated": 1, "late": 0, "missing": 0}, scan.ended


def test_keys():
    with tempfile.TemporaryDirectory() as folder:
        program, keys = str(pathlib.Path(build) / "eelsvae-serve"), os.path.join(folder, "keys")
        refused = subprocess.run([program, "--baseline", "mean", "--listen", "tcp://*:*"], capture_output=True, text=True,
                                 timeout=20)
        assert refused.returncode == 2 and "--make-keys" in refused.stderr, refused
        made = subprocess.run([program, "--make-keys", keys], capture_output=True, text=True, timeout=20)
        assert made.returncode == 0, made
        again = subprocess.run([program, "--make-keys", keys], capture_output=True, text=True, timeout=20)
        assert again.returncode == 2 and "is there already" in again.stderr, again
        other = os.path.join(folder, "other")
        subprocess.run([program, "--make-keys", other], check=True, capture_output=True, timeout=20)
        with Service(build, "--keys", keys, listen="tcp://0.0.0.0:*") as service:
            address = service.address.replace("0.0.0.0", "127.0.0.1")
            assert status(address, keys=keys + ".client")["scan"] is None
            with Scan(address, keys=keys + ".client", **START) as scan:
                for y in range(HEIGHT):
                    scan.send(y * WIDTH, row(y))
            assert scan.ended["counts"]["missing"] == 0
            for wrong in (None, other + ".client"):
                try:
                    status(address, keys=wrong)
                    raise AssertionError("a client without the key was served")
                except ServiceLost:
                    pass
            # The service's key is known to this one, its own is another's.
            mixed = json.loads(pathlib.Path(other + ".client").read_text())
            mixed["service_public"] = json.loads(pathlib.Path(keys + ".client").read_text())["service_public"]
            with open(os.path.join(folder, "mixed"), "w") as file:
                json.dump(mixed, file)
            try:
                status(address, keys=file.name)
                raise AssertionError("a client with another key was served")
            except ServiceLost:
                service.line("without the key was turned away", 2)


tests = {name[5:]: function for name, function in list(globals().items()) if name.startswith("test_")}
for name in sys.argv[2:] or tests:
    began = time.monotonic()
    print(name, flush=True)
    tests[name]()
    print(f"  passed in {time.monotonic() - began:.1f} s", flush=True)
