"""What tests of eelsvae-serve share: the program, started, and spectra to send to it."""
import array
import functools
import pathlib
import queue
import random
import re
import subprocess
import sys
import threading
import time

root = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(root / "python"))

# The scans of these tests: rows of a film, of which a few spectra have a line that the others have not.
HEIGHT, WIDTH, CHANNELS = 40, 50, 64
LEARNED = 14  # rows
START = dict(shape=(HEIGHT, WIDTH), channels=CHANNELS, energy_offset=400.0, dispersion=0.5, dtype="uint16")
ODD = [(20, 7), (33, 22)]
SETTINGS = ["--set", "preprocess.xy_window=1"]
LEARNING = ["--baseline", "mean", "--learn-rows", str(LEARNED), *SETTINGS]


@functools.lru_cache(maxsize=None)
def row(y):
    """The spectra of a row, uint16."""
    noise = random.Random(y)
    values = array.array("H")
    for x in range(WIDTH):
        for e in range(CHANNELS):
            counts = 900 - 8 * e + (400 if (y, x) in ODD and 30 <= e < 36 else 0)
            values.append(round(noise.gauss(counts, counts ** 0.5)))
    return values


class Gaps(threading.Thread):
    """How long this machine keeps programs waiting: the longest time by which a short sleep of a thread was longer."""

    def __init__(self):
        super().__init__(daemon=True)
        self.longest = 0.0  # s
        self.start()

    def run(self):
        nominal = 0.01
        while True:
            begin = time.monotonic()
            time.sleep(nominal)
            self.longest = max(self.longest, time.monotonic() - begin - nominal)


gaps = Gaps()


def allowed(seconds):
    """What a bound of so many seconds is on this machine: whoever waits for others, and they for others, wait as long."""
    return seconds + 4 * gaps.longest


def bound(seconds):
    """A bound, for people."""
    return f"{seconds} s, here {allowed(seconds):.2f} s"


class Service:
    """eelsvae-serve in a process, and what it prints."""

    def __init__(self, build, *arguments, listen="tcp://127.0.0.1:*", source=LEARNING):
        self.process = subprocess.Popen(
            [str(pathlib.Path(build) / "eelsvae-serve"), *source, "--listen", listen, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines, self.seen = queue.Queue(), []
        threading.Thread(target=self._read, daemon=True).start()
        self.address = self.line("listening at (\\S+?),?( |$)", 20)[1]

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def line(self, pattern, seconds=10):
        """The match of the next line that has the pattern."""
        begin = time.monotonic()
        while True:
            try:
                line = self.lines.get(timeout=0.05)
            except queue.Empty:
                assert time.monotonic() - begin < allowed(seconds), f"no line '{pattern}' in {bound(seconds)} among {self.seen}"
                continue
            self.seen.append(line)
            found = re.search(pattern, line)
            if found:
                return found

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()


def until(condition, seconds, what):
    """Waits for a condition; how long it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < allowed(seconds), f"not within {bound(seconds)}: {what}"
        time.sleep(0.01)
    return time.monotonic() - begin
