"""How long after a row's end its scores are with who sends it, through eelsvae-serve.

    /usr/bin/python3 benchmarks/live_service.py BUILD IMAGE.npy --rate 1000 --seconds 60 -- --state found

IMAGE is (y, x, E), counts, of 420 eV and 0.3 eV per channel (--energy). Its scan is repeated until the seconds are over, in pieces
of --piece spectra at their times; what follows `--` is the service's. Delays are measured by the sender: from when the last
spectrum of a row is due to the message with its provisional score, and from when the last one is due that its final score waits
for (`reach` rows later) to that. The first --learn rows of each scan, which a service learns from, are left out. Writes a line of
a table; status 1 if a spectrum was lost.
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
    first, final, due = {}, {}, {}

    def on_scores(message):
        now = time.monotonic()
        for y in range(message["first_row"], message["first_row"] + message["rows"]):
            first.setdefault(y, now)
            if message["final"]:
                final.setdefault(y, now)

    with Scan(address, (height, width), channels, *options.energy, dtype=options.dtype, rate=options.rate,
              on_scores=on_scores) as scan:
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
    rows = range(options.learn, height)
    return ([first[y] - due[y] for y in rows],
            [final[y] - (due[y + reach] if y + reach < height else closed) for y in rows], ended, late, reach, scan.capacity)


def times(delays):
    return " / ".join(f"{1e3 * numpy.percentile(delays, share):.0f}" for share in (50, 99, 100))


provisional, finals, scans, spectra_sent, behind = [], [], 0, 0, 0.0
lost = 0
try:
    begin = time.monotonic()
    while time.monotonic() - begin < options.seconds:
        one, other, ended, late, reach, capacity = scan_once()
        provisional += one
        finals += other
        scans += 1
        told = ended["counts"]
        spectra_sent += height * width
        lost += height * width - told["received"] + told["missing"] + told["late"] + told["repeated"]
        behind = max(behind, late)
    memory = int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{service.pid}/status").read_text())[1]) / 1024
finally:
    service.terminate()
    service.wait()
print("| service | spectra/s | scans | lost | capacity | reach | provisional ms p50 / p99 / max | final ms p50 / p99 / max | sender late ms | MiB |")
print(f"| {' '.join(options.service)} | {options.rate:.0f} | {scans} | {lost} | {capacity:.0f} | {reach} | {times(provisional)} | "
      f"{times(finals)} | {1e3 * behind:.0f} | {memory:.0f} |")
sys.exit(lost != 0)
