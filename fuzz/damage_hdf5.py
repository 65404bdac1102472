#!/usr/bin/env python3
"""Damages HDF5 files of every kind that is read, and counts what reading makes of them.

    fuzz/damage_hdf5.py BUILD_FOLDER [--files 300] [--seed 1] [--kinds hspy,velox] [--seconds 600]
                        [--programs] [--keep FOLDER]

Good files of each kind, with several layouts and filters, are written by h5py. Each damaged one is a good one with
flipped bits, other bytes, blocks of zeros or of another part of the file, or an end that is missing; half of the
changes are among the first bytes, where the structure stands. The images of each are listed, and its spectrum image
is read and written again: many files in one process by fuzz/read_images, or with --programs by eelsvae-info and eelsvae-convert. A file may be
read or refused with one line; one that declares an image of more than a quarter of a GB is listed only. Anything else is a failure, is kept with --keep, and ends the script with status 1.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

longest = 10  # seconds of processor time for listing or reading a file
most_mb = 1024  # of memory
together = 20  # files that one process reads
patience = 1800  # seconds until a process that takes no processor time is given up

cube = np.random.default_rng(1).poisson(30, (6, 7, 300)).astype("f4")
storages = {
    "contiguous": {},
    "gzip": {"chunks": (3, 4, 128), "compression": "gzip", "shuffle": True},
    "lzf": {"chunks": (3, 4, 128), "compression": "lzf"},
    "small chunks": {"chunks": (1, 2, 70), "compression": "gzip", "fletcher32": True},
    "growing": {"chunks": (2, 7, 300), "maxshape": (None, 7, 300)},
    "scaled": {"chunks": (3, 7, 300), "scaleoffset": 2},
}


def write_hspy(file, storage):
    file.attrs.update({"file_format": "HyperSpy", "file_format_version": "3.1"})
    for title in ["film", "low loss"]:
        group = file.create_group("Experiments/" + title)
        group.create_dataset("data", data=cube, **storage)
        for i, (name, scale, offset, units) in enumerate(
                [("y", 0.5, 0.0, "nm"), ("x", 0.5, 0.0, "nm"), ("Energy loss", 0.5, 500.0, "eV")]):
            group.create_group(f"axis-{i}").attrs.update(
                {"_type": "UniformDataAxis", "name": name, "size": cube.shape[i], "scale": scale, "offset": offset,
                 "units": units, "navigate": i < 2})
        group.create_group("metadata/General").attrs["title"] = title
        group.create_group("metadata/Signal").attrs["signal_type"] = "EELS"
        tags = group.create_group("original_metadata/tags")
        for i in range(12):
            tags.attrs[f"key {i}"] = "text" * i
        tags.create_dataset("angles", data=np.arange(40.0), chunks=(10,), compression="gzip")


def column(group, name, text):
    data = np.zeros((1000, 1), "u1")
    data[:len(text), 0] = np.frombuffer(text.encode(), "u1")
    group.create_dataset(name, data=data, chunks=(1000, 1), compression="gzip")


def write_velox(file, storage):
    file.create_dataset("Version", data=[json.dumps({"format": "Velox", "version": "13"})],
                        dtype=h5py.string_dtype())
    scan = {"BinaryResult": {"PixelSize": {"width": "1e-10", "height": "1e-10"}, "PixelUnitX": "m",
                             "PixelUnitY": "m", "Detector": "HAADF"}}
    eels = file.create_group("Data/EelsSpectrumImage/0123")
    eels.create_dataset("Data", data=np.ascontiguousarray(cube.transpose(1, 2, 0)),
                        **{k: tuple(v[i] for i in (1, 2, 0)) if isinstance(v, tuple) else v
                           for k, v in storage.items()})
    column(eels, "Metadata", json.dumps(scan))
    column(eels, "AcquisitionMetadata", json.dumps({"Data": {"offset": 500.0, "dispersion": 0.5}}))
    image = file.create_group("Data/Image/4567")
    image.create_dataset("Data", data=cube[:, :, :1].astype("u2"))
    column(image, "Metadata", json.dumps(scan))


def write_ncem(file, storage):
    file.attrs.update({"version_major": 0, "version_minor": 2})
    for name in ["film", "again"]:
        group = file.create_group("data/" + name)
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", data=cube, **storage)
        for i, (axis, units) in enumerate([("y", "[n_m]"), ("x", "[n_m]"), ("Energy loss", "[eV]")]):
            dim = group.create_dataset(f"dim{i + 1}", data=0.5 * np.arange(cube.shape[i]))
            dim.attrs.update({"name": axis, "units": units})
    file.create_group("microscope").attrs.update({"voltage": 200.0, "name": "a microscope"})


properties = json.dumps({
    "title": "a scan", "is_sequence": False, "collection_dimension_count": 2, "datum_dimension_count": 1,
    "metadata": {"hardware_source": {"signal_type": "eels"}},
    "dimensional_calibrations": [{"offset": 0.0, "scale": 0.5, "units": "nm"}] * 2 +
                                [{"offset": 500.0, "scale": 0.5, "units": "eV"}]})


def write_nion_h5(file, storage):
    file.create_dataset("data", data=cube, **storage).attrs["properties"] = properties


def write_nhdf(file, storage):
    for i in range(3):
        file.create_dataset(f"data/{i}", data=cube, **storage).attrs["properties"] = properties


def write_dm5(file, storage):
    list_of_images = file.create_group("ImageList")
    for i, data in enumerate([cube[:, :, 0], cube.transpose(2, 0, 1)]):
        image = list_of_images.create_group(f"[{i}]")
        image.attrs["Name"] = "a scan"
        content = image.create_group("ImageData")
        options = {k: tuple(v[j] for j in (2, 0, 1)) if isinstance(v, tuple) else v for k, v in storage.items()}
        content.create_dataset("Data", data=np.ascontiguousarray(data), **(options if i else {}))
        content.attrs.update({"DataType": np.uint32(2), "PixelDepth": np.uint32(4)})
        for d in range(data.ndim):
            units = "eV" if d == 2 else "nm"
            content.create_group(f"Calibrations/Dimension/[{d}]").attrs.update(
                {"Origin": np.float32(0), "Scale": np.float32(0.5), "Units": units})
        image.create_group("ImageTags/Meta Data").attrs.update(
            {"Format": "Spectrum image" if i else "Image", "Signal": "EELS" if i else ""})


kinds = {"hspy": (write_hspy, ".hspy"), "velox": (write_velox, ".emd"), "ncem": (write_ncem, ".emd"),
         "nion": (write_nion_h5, ".h5"), "nhdf": (write_nhdf, ".nhdf"), "dm5": (write_dm5, ".dm5")}


def good_files(kind, folder):
    write, suffix = kinds[kind]
    contents = []
    for i, storage in enumerate(storages.values()):
        path = folder / f"good{suffix}"
        with h5py.File(path, "w", libver=("v110" if i % 2 else "earliest", "v110")) as file:
            write(file, storage)
        contents.append(path.read_bytes())
    return contents


def damaged(good, chance):
    content = bytearray(good)

    def place():
        return chance.randrange(min(len(content), 6000) if chance.random() < 0.5 else len(content))

    way = chance.choice(["bits", "bits", "bytes", "number", "zeros", "copy", "end"])
    for _ in range(chance.randint(1, 8)):
        at = place()
        length = chance.choice([1, 2, 4, 8, 16, 64, 512])
        if way == "bits":
            content[at] ^= 1 << chance.randrange(8)
        elif way == "bytes":
            content[at] = chance.randrange(256)
        elif way == "number":
            content[at:at + 8] = chance.choice([b"\xff" * 8, bytes(8), b"\0\0\0\0\1\0\0\0", b"\xff\xff\xff\x7f" + bytes(4)])
        elif way == "zeros":
            content[at:at + length] = bytes(len(content[at:at + length]))
        elif way == "copy":
            content[at:at + length] = content[(start := place()):start + len(content[at:at + length])]
    if way == "end":
        del content[place():]
    return bytes(content)


right = ("read", "listed", "refused")


def outcome_of(messages, seconds, mb, vast=False):
    """One of those, or what is wrong."""
    if any("\n" in message for message in messages):
        return "more than a line"
    if seconds > longest:
        return f"took over {longest} s"
    if mb > most_mb:
        return f"took over {most_mb} MB"
    return "refused" if any(messages) else "listed" if vast else "read"


def read_together(build, paths, scratch):
    """An outcome for each file. A file that the process ends at is the one that it was about to report on."""
    outcomes, said = {}, {}
    while len(outcomes) < len(paths):
        todo = [path for path in paths if path not in outcomes]
        # The processor time of this process alone; the machine may be busy.
        with subprocess.Popen(["/bin/sh", "-c", f"ulimit -t {longest * together}; exec \"$0\" \"$1\"",
                               build / "fuzz" / "read_images", scratch], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                out, err = process.communicate("\n".join(map(str, todo)) + "\n", timeout=patience)
                status = f"status {process.returncode}"
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                status = "hangs"
        for line in out.splitlines():
            answer = json.loads(line)
            path = pathlib.Path(answer["path"])
            outcomes[path] = outcome_of(answer["messages"], answer["seconds"], max(answer["mb"], answer["reader_mb"]),
                                        answer["vast"])
            said[path] = answer["messages"] + [f"{answer['seconds']:.1f} s, {answer['mb']} and {answer['reader_mb']} MB"]
        rest = [path for path in todo if path not in outcomes]
        if rest:
            outcomes[rest[0]] = status if not err else f"{status}: {err.strip().splitlines()[-1]}"
        elif process.returncode:
            sys.exit(f"read_images: {status} at its end: {err}")
    return outcomes, said


def processor_time():
    """Of programs that ended, and of those that they started. For one kind of file at a time."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def read_by_programs(build, paths, scratch):
    outcomes, said = {}, {}
    for path in paths:
        messages, worst, slowest = [], None, 0
        for command in [[build / "eelsvae-info", path], [build / "eelsvae-convert", path, scratch]]:
            before = processor_time()
            try:
                result = subprocess.run(command, capture_output=True, timeout=patience)
            except subprocess.TimeoutExpired:
                worst = "hangs"
                continue
            slowest = max(slowest, processor_time() - before)
            text = result.stderr.decode(errors="replace")
            if result.returncode not in (0, 2):
                worst = f"status {result.returncode}"
            elif result.returncode == 2 and text.count("\n") != 1:
                worst = "more or less than a line"
            messages.append(text.strip() if result.returncode else "")
        outcomes[path] = worst or outcome_of(messages, slowest, 0)
        said[path] = messages
    return outcomes, said


def try_kind(kind, read, build, options):
    counts, examples, began = collections.Counter(), [], time.monotonic()
    chance = random.Random(f"{kind} {options.seed}")
    suffix = kinds[kind][1]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        good = good_files(kind, folder)
        whole = [folder / f"whole-{i}{suffix}" for i in range(len(good))]
        for path, content in zip(whole, good):
            path.write_bytes(content)
        outcomes, said = read(build, whole, folder / "out.hspy")
        if set(outcomes.values()) != {"read"}:
            raise SystemExit(f"{kind}: not damaged, but {outcomes}, {said}")
        for first in range(0, options.files, together):
            if time.monotonic() - began > options.seconds:
                break
            paths = []
            for i in range(first, min(first + together, options.files)):
                path = folder / f"{i}{suffix}"
                path.write_bytes(damaged(good[i % len(good)], chance))
                paths.append(path)
            outcomes, said = read(build, paths, folder / "out.hspy")
            for path, outcome in outcomes.items():
                counts[outcome] += 1
                if outcome not in right:
                    examples.append(f"{path.name}: {outcome}: {said.get(path)}")
                    if options.keep:
                        options.keep.mkdir(parents=True, exist_ok=True)
                        shutil.copy(path, options.keep / f"{kind}-{options.seed}-{path.name}")
                path.unlink()
    tried = sum(counts.values())
    wrong = tried - sum(counts[each] for each in right)
    print(f"{kind:8} {tried:7} " + " ".join(f"{counts[each]:8}" for each in right) + f" {wrong:6}" +
          "".join(f"\n    {example}" for example in examples[:10]), flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--files", type=int, default=300, help="damaged ones of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default=",".join(kinds))
    parser.add_argument("--programs", action="store_true", help="run the programs, a file at a time")
    parser.add_argument("--keep", type=pathlib.Path, help="where files that were not just read or refused go")
    parser.add_argument("--seconds", type=float, default=1e9, help="no more files of a kind after that")
    options = parser.parse_args()
    build = options.build.resolve()
    read = read_by_programs if options.programs else read_together
    print(f"{'kind':8} {'files':>7} " + " ".join(f"{each:>8}" for each in right) + f" {'else':>6}   by "
          f"{'programs' if options.programs else 'one process'}, seed {options.seed}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(1 if options.programs else os.cpu_count()) as pool:
        wrong = list(pool.map(lambda kind: try_kind(kind, read, build, options), options.kinds.split(",")))
    sys.exit(1 if any(wrong) else 0)


main()
