"""How long after a row's end its scores are with who sends it, through eelsvae-serve.

    /usr/bin/python3 benchmarks/live_service.py BUILD IMAGE.npy --rate 1000 --seconds 60 -- --state found

IMAGE is (y, x, E), counts, of 420 eV and 0.3 eV per channel (--energy). Its scan is repeated until the seconds are over, in pieces
of --piece spectra at their times; what follows `--` is the service's. Delays are measured by the sender: from when the last
spectrum of a row is due to the message with its provisional score, and from when the last one is due that its final score waits
for (`reach` rows later) to that. The first --learn rows of scans that a service learns from are left out. Writes a line of a table
for each of what scored scans (with `-- --train MINUTES` one comes after the other; of a scan in which that happens nothing is
measured, but its spectra are counted); status 1 if a spectrum was lost.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import time

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
from eelsvae_client import Scan, status  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("build")
parser.add_argument("image")
parser.add_argument("--rate", type=float, default=1000, help="spectra/s")
parser.add_argument("--seconds", type=float, default=60)
parser.add_argument("--piece", type=int, default=10, help="spectra that are sent at once")
parser.add_argument("--energy", type=float, nargs=2, default=[420, 0.3], help="eV of the first channel, and per channel")
parser.add_argument("--dtype", default="uint16")
parser.add_argument("--learn", type=int, default=0)
split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
options = parser.parse_args(sys.argv[1:split])
options.service = sys.argv[split + 1:]

image = numpy.load(options.image, mmap_mode="r")
height, width, channels = image.shape
counts = numpy.clip(numpy.rint(image), 0, 65535).astype(options.dtype) if options.dtype.startswith("u") else image.astype(options.dtype)
spectra = counts.reshape(height * width, channels)

service = subprocess.Popen([str(pathlib.Path(options.build) / "eelsvae-serve"), "--listen", "tcp://127.0.0.1:*", *options.service],
                           stdout=subprocess.PIPE, text=True)
address = re.match(r"listening at (\S+)", service.stdout.readline())[1]


def scan_once():
    """(provisional, final) delays in seconds of a scan's rows, and the scan."""
    first, final, due, scorers = {}, {}, {}, set()

    def on_scores(message):
        now = time.monotonic()
        for y in range(message["first_row"], message["first_row"] + message["rows"]):
            first.setdefault(y, now)
            if message["final"]:
                final.setdefault(y, now)

    def on_scan(message):
        scorers.add(message["scored_by"])

    with Scan(address, (height, width), channels, *options.energy, dtype=options.dtype, rate=options.rate,
              on_scores=on_scores, on_scan=on_scan) as scan:
        begin = time.monotonic()
        for pixel in range(0, height * width, options.piece):
            end = min(pixel + options.piece, height * width)
            at = begin + end / options.rate
            wait = at - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            scan.send(pixel, spectra[pixel:end])
            for y in range(pixel // width, (end - 1) // width + 1):
                if (y + 1) * width <= end:
                    due[y] = begin + (y + 1) * width / options.rate
        late = time.monotonic() - at
        closed = time.monotonic()
        ended = scan.end()
        time.sleep(0.1)
        reach = status(address)["scan"]["reach"]
    changed = len(scorers) > 1
    by = "another one from some row on" if changed else scorers.pop()
    rows = [] if changed else range(options.learn if "learned from the first" in by else 0, height)
    return (by, [first[y] - due[y] for y in rows],
            [final[y] - (due[y + reach] if y + reach < height else closed) for y in rows], ended, late, reach, scan.capacity)


def times(delays):
    return " / ".join(f"{1e3 * numpy.percentile(delays, share):.0f}" for share in (50, 99, 100)) if delays else ""


class Measured:
    """Of the scans that one thing scored."""

    def __init__(self):
        self.provisional, self.final, self.scans, self.lost, self.late, self.memory = [], [], 0, 0, 0.0, 0.0


measured = {}
try:
    begin = time.monotonic()
    while time.monotonic() - begin < options.seconds:
        by, one, other, ended, late, reach, capacity = scan_once()
        of = measured.setdefault(by, Measured())
        of.provisional += one
        of.final += other
        of.scans += 1
        told = ended["counts"]
        of.lost += height * width - told["received"] + told["missing"] + told["late"] + told["repeated"]
        of.late = max(of.late, late)
        of.reach, of.capacity = reach, capacity
        of.memory = int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{service.pid}/status").read_text())[1]) / 1024
finally:
    service.terminate()
    service.wait()
print("| scored by | spectra/s | scans | lost | capacity | reach | provisional ms p50 / p99 / max | final ms p50 / p99 / max | sender late ms | MiB |")
for by, of in measured.items():
    capacity = f"{of.capacity:.0f}" if of.capacity else "not known"
    print(f"| {by} | {options.rate:.0f} | {of.scans} | {of.lost} | {capacity} | {of.reach} | {times(of.provisional)} | "
          f"{times(of.final)} | {1e3 * of.late:.0f} | {of.memory:.0f} |")
sys.exit(any(of.lost for of in measured.values()))
