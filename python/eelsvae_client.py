"""Sends spectra of a running scan to eelsvae-serve and gets their scores: this file and pyzmq, Python 3.7 or later.

    from eelsvae_client import Scan

    with Scan("tcp://127.0.0.1:5725", shape=(210, 210), channels=1340, energy_offset=420, dispersion=0.3,
              dtype="uint16", on_scores=lambda scores: print(scores["first_row"])) as scan:
        for y in range(210):
            scan.send(y * 210, row_of_the_detector(y))     # a NumPy array, or bytes
    print(scan.summary)

`Watch` follows a scan that somebody else sends; `status` asks what the service is doing. docs/live.md of eelsvae says
what is sent.

Whoever sends may have so many bytes on the way; `send` waits while there are more. Nothing is lost silently: each block
is acknowledged, and what the service could not take is an exception. If nothing is heard of the service for 1.5 seconds,
every call raises ServiceLost. A scan whose sender has died goes on with the same `series` and resume=True:
`scan.missing` then says which pixels have not come.
"""
import array
import collections
import json
import struct
import sys
import threading
import time
import uuid

import zmq

__all__ = ["Scan", "Watch", "status", "ServiceLost", "Refused"]

PROTOCOL_VERSION = 1
BEAT_SECONDS = 0.4
LOST_SECONDS = 1.5
MOST_UPDATES = 100000  # that wait for their reader; then all is told anew
LARGEST_BLOCK = 1 << 20  # bytes; larger ones are sent in parts
TOLD_WITH_SCORES = ("final_rows", "scored_rows", "threshold", "threshold_final", "counts")
ELEMENT_SIZES = {"int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8,
                 "float16": 2, "float32": 4, "float64": 8}
BUFFER_KINDS = {"b": "int", "h": "int", "i": "int", "l": "int", "q": "int", "B": "uint", "H": "uint", "I": "uint",
                "L": "uint", "Q": "uint", "e": "float", "f": "float", "d": "float"}


class ServiceLost(ConnectionError):
    """Nothing is heard of the service any more, it was stopped, or it was started anew."""


class Refused(RuntimeError):
    """The service said no; the text says why and what would be right."""


# ---- CBOR, as far as it is needed (RFC 8949) ----


def _head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    for minor, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * size:
            return bytes([major << 5 | minor]) + value.to_bytes(size, "big")
    raise OverflowError("an integer of more than 64 bits")


def _encode(value, out):
    if value is None:
        out.append(b"\xf6")
    elif value is True or value is False:
        out.append(b"\xf5" if value else b"\xf4")
    elif isinstance(value, int):
        out.append(_head(0, value) if value >= 0 else _head(1, -1 - value))
    elif isinstance(value, float):
        out.append(b"\xfb" + struct.pack(">d", value))
    elif isinstance(value, str):
        text = value.encode("utf-8")
        out.append(_head(3, len(text)) + text)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        out.append(_head(2, len(value)))
        out.append(value)
    elif isinstance(value, (list, tuple)):
        out.append(_head(4, len(value)))
        for entry in value:
            _encode(entry, out)
    elif isinstance(value, dict):
        out.append(_head(5, len(value)))
        for key, entry in value.items():
            _encode(key, out)
            _encode(entry, out)
    else:
        raise TypeError("no CBOR for {}".format(type(value)))


def encode(value):
    """Bytes of None, bool, int, float, str, bytes, and lists and dictionaries of such."""
    out = []
    _encode(value, out)
    return b"".join(out)


class _Reader:
    def __init__(self, data):
        self.data, self.place = data, 0

    def take(self, size):
        if size > len(self.data) - self.place:
            raise ValueError("a message ends too early")
        self.place += size
        return self.data[self.place - size:self.place]

    def value(self, depth=0):
        first = self.take(1)[0]
        major, minor = first >> 5, first & 31
        if depth > 8 or minor > 27:
            raise ValueError("a message is not of this protocol")
        raw = self.take(1 << minor - 24) if minor > 23 else b""
        argument = int.from_bytes(raw, "big") if raw else minor
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return bytes(self.take(argument))
        if major == 3:
            return bytes(self.take(argument)).decode("utf-8", "replace")
        if major == 4:
            return [self.value(depth + 1) for _ in range(argument)]
        if major == 5:
            result = {}
            for _ in range(argument):
                key = self.value(depth + 1)
                result[key] = self.value(depth + 1)
            return result
        if major == 6:  # a tag: here only of arrays, whose type the keys say
            return self.value(depth + 1)
        if minor > 24:
            return struct.unpack({25: ">e", 26: ">f", 27: ">d"}[minor], raw)[0]
        return {20: False, 21: True}.get(minor)


def decode(data):
    """The value of a message's bytes. ValueError if they are none."""
    reader = _Reader(data)
    value = reader.value()
    if reader.place != len(data):
        raise ValueError("more follows behind a message")
    return value


# ---- the connection ----


def _set_keys(socket, keys):
    if keys is None:
        return
    with open(keys) as file:
        found = json.load(file)
    try:
        socket.curve_serverkey = found["service_public"].encode()
        socket.curve_publickey = found["client_public"].encode()
        socket.curve_secretkey = found["client_secret"].encode()
    except KeyError as key:
        raise ValueError("{} has no {}; take the file FILE.client that eelsvae-serve --make-keys wrote".format(
            keys, key))


class _Client:
    """A connection, and the thread that keeps it: it sends beats, hears those of the service, and hands on what comes."""

    _kept = False  # whether updates are: somebody reads them

    def __init__(self, address, keys, first):
        self.address = address
        self.scan = None           # what the service said last of the scan: shape, series, state, ...
        self.scores = None         # array("f") of shape y * x, NaN where there is none yet
        self.final_rows = self.scored_rows = 0
        self.threshold = None      # provisional until threshold_final
        self.threshold_final = False
        self.counts = {}
        self.regions = []
        self.producer_lost = False
        self.summary = None        # once the scan has ended
        self.ended = None          # the whole message of that
        self.gaps = 0              # how often messages were missed; all maps were then sent anew
        self._expected = None      # number of the next message to all
        self._error = None
        self._updates = collections.deque()
        self._regions_told = None  # the last message of them
        self._outgoing = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self._waking = threading.Lock()
        context = zmq.Context.instance()
        self._socket = context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.ipv6 = "[" in address
        _set_keys(self._socket, keys)
        self._socket.connect(address)
        name = "inproc://eelsvae-{}".format(uuid.uuid4().hex)
        self._woken = context.socket(zmq.PAIR)
        self._woken.bind(name)
        self._wake = context.socket(zmq.PAIR)
        self._wake.connect(name)
        self._outgoing.append(encode(first))
        self._thread = threading.Thread(target=self._run, name="eelsvae", daemon=True)
        self._thread.start()

    # In the thread of the connection.

    def _run(self):
        poller = zmq.Poller()
        poller.register(self._woken, zmq.POLLIN)
        heard = turn = time.monotonic()
        beaten = turn - BEAT_SECONDS / 2
        try:
            while not self._closed and self._error is None:
                waiting = zmq.POLLOUT if self._outgoing else 0
                poller.register(self._socket, zmq.POLLIN | waiting)
                poller.poll(100)
                while self._woken.poll(0):
                    self._woken.recv()
                now = time.monotonic()
                if now - turn > LOST_SECONDS / 3:  # it was this program that stood still
                    heard = now
                turn = now
                for _ in range(1000):
                    if not self._socket.poll(0):
                        break
                    self._hear(self._socket.recv())
                    heard = now
                if now - beaten > BEAT_SECONDS:
                    beaten = now
                    self._outgoing.append(encode({"type": "beat"}))
                try:
                    while self._outgoing:
                        self._socket.send(self._outgoing[0], zmq.NOBLOCK)
                        self._outgoing.popleft()
                except zmq.Again:
                    pass
                if now - heard > LOST_SECONDS:
                    self._fail(ServiceLost("nothing has been heard of the service at {} for {} s; is eelsvae-serve "
                                           "running there?".format(self.address, LOST_SECONDS)))
        except Exception as error:  # pylint: disable=broad-except
            self._fail(error)
        finally:
            try:
                while self._error is None and self._outgoing:
                    self._socket.send(self._outgoing.popleft(), zmq.NOBLOCK)
            except zmq.ZMQError:
                pass  # the service will notice
            self._socket.close(linger=200)
            self._woken.close()

    def _show_all_again(self):
        self.gaps += 1
        self._outgoing.append(encode({"type": "watch"}))

    def _fail(self, error):
        with self._changed:
            if self._error is None:
                self._error = error
            self._changed.notify_all()

    def _hear(self, data):
        message = decode(data)
        kind = message.get("type")
        if kind == "beat":
            return
        if "sequence" in message:
            number = message["sequence"]
            if self._expected is not None and number != self._expected:
                self._show_all_again()
            self._expected = number + 1
        if kind == "scores":
            message["scores"] = _floats(message["scores"])
        with self._changed:
            self._take(kind, message)
            self._changed.notify_all()

    def _take(self, kind, message):
        if kind == "behind":
            self.gaps += 1
            self._expected = None
        elif kind == "closing":
            self._error = ServiceLost(message.get("message", "the service was stopped"))
        elif kind == "error" and message.get("unknown"):
            self._error = ServiceLost(message["message"])
        elif kind == "error" and (message.get("fatal") or message.get("refused")):
            self._error = Refused(message["message"])
        elif kind == "scan":
            known = self.scan is not None and self.scan.get("series") == message.get("series")
            self.scan = message
            self.producer_lost = message.get("producer") == "lost"
            if not (known and message["state"] in ("ended", "failed")):  # what is known of one that is over stays
                self.summary = self.ended = self._regions_told = None
                self.regions = []
                self.final_rows = self.scored_rows = 0
                if "shape" in message:
                    self.scores = array.array("f", [float("nan")]) * (message["shape"][0] * message["shape"][1])
        elif kind == "scores" and self.scan is not None:
            width = self.scan["shape"][1]
            first = message["first_row"] * width
            self.scores[first:first + len(message["scores"])] = message["scores"]
            for key in TOLD_WITH_SCORES:
                setattr(self, key, message[key])
        elif kind == "regions":
            self.regions, self._regions_told = message["regions"], message
        elif kind == "producer":
            self.producer_lost = message["state"] == "lost"
        elif kind == "ended":
            self.ended, self.summary = message, message["summary"]
            self.threshold, self.threshold_final = message["threshold"], True
            self.counts = message["counts"]
        if self._kept and kind in ("scan", "scores", "regions", "producer", "notice", "ended"):
            if len(self._updates) >= MOST_UPDATES:
                self._updates.clear()
                self._show_all_again()
            self._updates.append(message)

    # In the caller's thread.

    def _send(self, message):
        self._check_open()
        self._outgoing.append(message)
        self._wake_up()

    def _check_open(self):
        if self._closed:
            raise ValueError("this connection was closed; make another one")

    def _wake_up(self):
        with self._waking:
            if self._wake.closed:  # by another thread, a moment ago
                return
            try:
                self._wake.send(b"", zmq.NOBLOCK)
            except zmq.Again:
                pass  # it has been woken often enough

    def _wait(self, condition, timeout=None):
        """Until condition() holds; raises what the service or its silence said. False: it took too long, or the connection
        was closed meanwhile."""
        with self._changed:
            reached = self._changed.wait_for(lambda: self._closed or self._error is not None or condition(), timeout)
            if not reached or condition():
                return bool(reached)
            if self._error is not None:
                raise self._error
            return False

    def _until(self, condition):
        """Until condition() holds; raises what _wait does, and ValueError where the connection was closed."""
        if not self._wait(condition):
            self._check_open()

    def _keep_updates(self):
        """From now on; what is known is the first."""
        with self._changed:
            if self._kept:
                return
            self._kept = True
            if self.scan is not None:
                self._updates.append(self.scan)
            for first, last, final in (0, self.final_rows, True), (self.final_rows, self.scored_rows, False):
                if first < last:
                    width = self.scan["shape"][1]
                    message = {"type": "scores", "series": self.scan["series"], "first_row": first, "rows": last - first,
                               "final": final, "scores": self.scores[first * width:last * width]}
                    message.update((key, getattr(self, key)) for key in TOLD_WITH_SCORES)
                    self._updates.append(message)
            self._updates.extend(message for message in (self._regions_told, self.ended) if message is not None)

    def updates(self, timeout=None):
        """Yields what is told of the scan, as dictionaries: "scan" (state: running, or failed, and then the last), "scores"
        (first_row, rows, final, scores), "regions", "producer" (lost or back), "notice" (message: what is not scored) and
        "ended", which is the last. What was there before the first call is told first. Stops when nothing has come for
        `timeout` seconds (None: waits on), or the connection is closed. Raises ServiceLost."""
        self._keep_updates()
        while self._wait(lambda: self._updates, timeout):
            message = self._updates.popleft()
            yield message
            if message["type"] == "ended" or message.get("state") == "failed":
                return

    def close(self):
        """Leaves the service. A scan that has not ended waits there for one who resumes it."""
        with self._changed:
            if self._closed:
                return
            self._outgoing.append(encode({"type": "leave"}))
            self._closed = True
            self._changed.notify_all()
        self._wake_up()
        self._thread.join()
        with self._waking:
            self._wake.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()


def _floats(data):
    values = array.array("f")
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


class Scan(_Client):
    """Sends a scan. Used in a `with`, it ends the scan when the block ends, and leaves it to be resumed where that raises.

    shape           (y, x)
    channels        of a spectrum
    energy_offset   eV, of the first channel
    dispersion      eV per channel
    dtype           of the numbers that are sent, as NumPy calls it; they are counts, little-endian
    title           for people
    excluded        a byte for each pixel (y, x); not 0: will not be looked at
    series          names the scan; None: a name that nobody else has
    rate            spectra/s that will come: the service refuses a scan that it cannot keep up with
    resume          go on with the series if the service knows it
    keys            the file FILE.client of eelsvae-serve --make-keys FILE
    on_scores       called with every message "scores", in a thread of its own
    on_regions      the same for "regions"
    on_scan         the same for "scan": at the beginning, and again where something else scores the scan from now on
                    (scored_by): scores that follow take the place of earlier ones, final ones, too

    Raises Refused, ServiceLost. Then:

    missing         [(first pixel, count), ...] that have not come, by the service
    received        spectra that the service has
    resumed         whether the service knew the series
    capacity        spectra/s that it can score; None: not known
    reach           rows after which a score is final
    """

    def __init__(self, address, shape, channels, energy_offset, dispersion, dtype="float32", title="", excluded=None,
                 series=None, rate=None, resume=False, keys=None, on_scores=None, on_regions=None, on_scan=None):
        if str(dtype) not in ELEMENT_SIZES:
            raise ValueError("dtype '{}' is none of {}".format(dtype, ", ".join(ELEMENT_SIZES)))
        self.shape, self.channels, self.dtype = tuple(int(n) for n in shape), int(channels), str(dtype)
        self.series = series or uuid.uuid4().hex
        self._spectrum_bytes = self.channels * ELEMENT_SIZES[self.dtype]
        self._callbacks = {"scan": on_scan, "scores": on_scores, "regions": on_regions}
        self._started = None
        self._on_the_way = collections.deque()  # (number, bytes) of blocks that are not acknowledged
        self._bytes_on_the_way = 0
        self._number = 0
        self._refusals = []
        self._another = False  # whether the series is another scan's by now
        self._calls = None     # the thread of the callbacks
        self._calls_failed = None
        start = {"type": "start", "version": PROTOCOL_VERSION, "series": self.series, "title": title,
                 "shape": list(self.shape), "channels": self.channels, "energy_offset": float(energy_offset),
                 "dispersion": float(dispersion), "dtype": self.dtype, "resume": bool(resume)}
        if excluded is not None:
            start["excluded"] = memoryview(excluded).cast("B").tobytes()
        if rate is not None:
            start["rate"] = float(rate)
        self._kept = any(self._callbacks.values())
        super().__init__(address, keys, start)
        try:
            self._until(lambda: self._started is not None)
        except BaseException:
            self.close()
            raise
        self.missing = [tuple(run) for run in self._started["missing"]]
        self.received = self._started["received"]
        self.resumed = self._started["resumed"]
        self.capacity = self._started["capacity"]
        self.reach = self._started["reach"]
        self._window = self._started["window"]
        self._most_blocks = self._started["most_blocks"]
        if any(self._callbacks.values()):
            self._calls = threading.Thread(target=self._call_back, name="eelsvae scores", daemon=True)
            self._calls.start()

    def _take(self, kind, message):
        if kind == "started":
            self._started = message
            if message["resumed"]:
                self._outgoing.append(encode({"type": "watch"}))  # the maps so far
        elif kind == "taken" or kind == "error" and "number" in message:
            while self._on_the_way and self._on_the_way[0][0] <= message["number"]:
                self._bytes_on_the_way -= self._on_the_way.popleft()[1]
            if kind == "error":
                self._refusals.append(message["message"])
        elif kind in ("scan", "scores", "regions", "producer", "ended"):
            # Who sends is told of all scans of the service, before and after this one, too.
            if message.get("series") != self.series:
                return
            self._another = self._another or kind == "scan" and message["state"] == "running" and self.ended is not None
            if self._another:
                return
        super()._take(kind, message)

    def _call_back(self):
        try:
            for message in self.updates():
                call = self._callbacks.get(message["type"])
                if call is not None and not self._closed:
                    call(message)
        except (ServiceLost, Refused):
            pass  # the caller's next call says so
        except Exception as error:  # pylint: disable=broad-except
            self._calls_failed = error
            self._fail(error)

    def _finish_calls(self):
        if self._calls is not None and self._calls is not threading.current_thread():
            self._calls.join()

    def _check_refusals(self):
        if self._refusals:
            raise Refused(self._refusals.pop(0))

    def send(self, first, spectra):
        """Sends spectra of the pixels first, first + 1, ... (y * width + x): an array of the scan's dtype, in C order, or
        its bytes. Waits while too much is on the way. Raises Refused if an earlier block was, ServiceLost."""
        view = memoryview(spectra)
        code = view.format.lstrip("@=<") if sys.byteorder == "little" else view.format.lstrip(">!@=")
        raw = view.format == "B" and isinstance(view.obj, (bytes, bytearray))
        if not raw:
            name = "{}{}".format(BUFFER_KINDS.get(code, "?" + view.format), 8 * view.itemsize)
            if name != self.dtype:
                raise TypeError("spectra are {}, and the scan was started with {}".format(name, self.dtype))
        if not view.c_contiguous:
            raise TypeError("spectra do not lie in C order; numpy.ascontiguousarray makes that")
        try:
            data = view.cast("B")
        except ValueError:  # some Pythons do not know every type
            data = memoryview(view.tobytes())
        if len(data) == 0 or len(data) % self._spectrum_bytes:
            raise ValueError("{} bytes are no whole spectra of {} channels of {}".format(len(data), self.channels,
                                                                                       self.dtype))
        at_once = max(1, min(LARGEST_BLOCK, self._window // 2) // self._spectrum_bytes)
        count = len(data) // self._spectrum_bytes
        for done in range(0, count, at_once):
            size = min(at_once, count - done)
            begin = done * self._spectrum_bytes
            self._send_block(first + done, size, data[begin:begin + size * self._spectrum_bytes])

    def _send_block(self, first, count, data):
        def has_room():
            return self._refusals or (self._bytes_on_the_way + len(data) <= self._window and
                                      len(self._on_the_way) < self._most_blocks)
        self._check_open()
        self._until(has_room)
        with self._changed:
            if self._error is not None:
                raise self._error
            self._check_refusals()
            self._on_the_way.append((self._number, len(data)))
            self._bytes_on_the_way += len(data)
        self._send(encode({"type": "block", "series": self.series, "number": self._number, "first": int(first),
                           "count": count, "data": data}))
        self._number += 1

    def flush(self):
        """Waits until the service has taken all that was sent. Raises as send does."""
        self._until(lambda: self._refusals or not self._on_the_way)
        self._check_refusals()

    def end(self):
        """Ends the scan: what has not come is missing, and all scores become final. Returns the message "ended", when the
        callbacks have had all of it, unless one of them calls this; raises what one of them has raised."""
        self.flush()
        self._send(encode({"type": "end", "series": self.series}))
        self._until(lambda: self.ended is not None)
        self._finish_calls()
        if self._calls_failed is not None:
            raise self._calls_failed
        return self.ended

    def close(self):
        super().close()
        self._finish_calls()

    def __exit__(self, kind, value, trace):
        try:
            if kind is None and self.ended is None and not self._closed:
                self.end()
        finally:
            self.close()


class Watch(_Client):
    """Follows the scan that a service scores, whoever sends it: `for message in watch.updates()`, or the attributes scan,
    scores, final_rows, threshold, regions. What was there before is told first. Raises ServiceLost."""

    def __init__(self, address, keys=None):
        super().__init__(address, keys, {"type": "watch"})
        try:
            self._until(lambda: self.scan is not None)
        except BaseException:
            self.close()
            raise


class _Status(_Client):
    def __init__(self, address, keys):
        self.status = None
        super().__init__(address, keys, {"type": "status"})

    def _take(self, kind, message):
        if kind == "status":
            self.status = message


def status(address, keys=None):
    """What the service is doing: "scan" (None, or counts, rate, delays in ms, rows) and how many clients it has. Raises
    ServiceLost."""
    with _Status(address, keys) as client:
        client._until(lambda: client.status is not None)
        return client.status
