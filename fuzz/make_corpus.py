#!/usr/bin/env python3
"""Makes the first inputs of the fuzz targets, corpus/<target>/*.

Inputs that a fuzzer found are kept beside them, named after what they showed.
"""
import gzip
import io
import json
import os
import pathlib
import pickle
import struct
import sys
import zipfile
import zlib

import numcodecs
import numpy as np
from numpy.lib import format as npy_format

root = pathlib.Path(__file__).parent / "corpus"
cube = np.arange(24).reshape(2, 3, 4)
energy = 100 + 0.25 * np.arange(4)


def save(target, name, content):
    folder = root / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def npy(array, version=None):
    file = io.BytesIO()
    npy_format.write_array(file, array, version=version)
    return file.getvalue()


def npz(writer, **arrays):
    file = io.BytesIO()
    writer(file, **arrays)
    return file.getvalue()


def zipped(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


for code in ["b1", "i1", ">u2", "<i4", "<u8", ">f2", "<f4", ">f8"]:
    save("npy", code.replace("<", "little_").replace(">", "big_"), npy((cube % 2 if code == "b1" else cube).astype(code)))
save("npy", "fortran", npy(np.asfortranarray(cube.astype("<f4"))))
save("npy", "version2", npy(cube.astype("<f4"), (2, 0)))
save("npy", "version3_mask", npy(cube[:, :, 0] > 3, (3, 0)))
save("npy", "scalar", npy(np.array(1.5)))
save("npy", "empty", npy(np.zeros((0, 2, 3), "<f4")))
save("npy", "structure", npy(np.zeros(2, [("a", "<f4")])))
save("npy", "nan", npy(np.full((1, 1, 2), np.nan, "<f4")))

save("npz", "stored", npz(np.savez, data=cube.astype("<u2"), energy=energy))
save("npz", "deflated", npz(np.savez_compressed, X=cube.astype(">f4"), ev=energy, x=np.arange(3.0)))
save("npz", "several", npz(np.savez_compressed, a=cube, b=cube.transpose(2, 0, 1), E=energy, note="text"))
save("npz", "line", npz(np.savez, data=cube[0], energy=energy, y=np.arange(2), x=np.arange(3)))
properties = {
    "version": 13, "title": "a scan", "is_sequence": False, "collection_dimension_count": 2,
    "datum_dimension_count": 1, "metadata": {"hardware_source": {"signal_type": "eels"}},
    "dimensional_calibrations": [{"offset": 0.0, "scale": 0.5, "units": "nm"},
                                 {"offset": 0.0, "scale": 0.5, "units": "nm"},
                                 {"offset": 100.0, "scale": 0.25, "units": "eV"}]}
text = json.dumps(properties)
save("npz", "ndata", zipped([("data.npy", npy(cube.astype("<f4"))), ("metadata.json", text)]))
save("npz", "ndata_deflated", zipped([("metadata.json", text), ("data.npy", npy(cube))], zipfile.ZIP_DEFLATED))

described = {"repo_id": "AB.1", "type": "3D", "filter.mode": "EELS", "content.types": ["Energy", "ScanX", "ScanY"],
             "device.calib": [{"value": np.float64(0.25), "unit": "eV", "offset": -1700.0, "pixel_factor": 2.0, "live": True},
                              {"value": 1e-10, "unit": "m", "offset": -16}, None, None], "ref_size": (4, 3, 2)}
for protocol in (2, 3, 4):  # what NumPy and Panta Rhei write
    save("pickle", f"protocol{protocol}", pickle.dumps(np.array([described], dtype=object), protocol))
save("npz", "prz", npz(np.savez_compressed, data=cube, meta_data=[described], file_format_version=2, data_model=[{}]))
save("npz", "prz_json", npz(np.savez, data=cube, meta_data_json=json.dumps([described])))

save("nion", "scan", text.encode())
old = {"data_sources": [{**properties, "spatial_calibrations": properties["dimensional_calibrations"]}]}
save("nion", "old", json.dumps(old).encode())
save("nion", "photo", b'{"title": "photo", "collection_dimension_count": 0, "datum_dimension_count": 2}')
save("nion", "sequence", json.dumps({**properties, "is_sequence": True}).encode())

plain = ("key\tvalue\nwidth\t3\nheight\t2\ndepth\t4\noffset\t{offset}\ndata-type\t{kind}\ndata-length\t{length}\n"
         "byte-order\t{order}\nrecord-by\t{record}\n")
calibrated = ("; as HyperSpy writes it\nbeam-energy\t200.0\ndepth-name\tEnergy loss\ndepth-origin\t420.5\n"
              "depth-scale\t0.25\ndepth-units\teV\nheight-origin\t-3.0\nheight-scale\t2.0\nheight-units\tnm\n"
              "signal\tEELS\ntitle\ta title\nwidth-units\t<undefined>\ndate\t\n")
for kind, code, order, record, offset, more in [
        ("unsigned", "<u2", "little-endian", "vector", 0, calibrated),
        ("float", ">f4", "big-endian", "image", 5, "ev-per-chan\t10\n"),
        ("signed", "i1", "dont-care", "vector", 0, "")]:
    header = plain.format(kind=kind, length=np.dtype(code).itemsize, order=order, record=record, offset=offset)
    save("ripple", f"{kind}_{record}",
         (header + more).encode() + b"\0" + bytes(offset) + cube.astype(code).tobytes())

emsa = ("#VERSION     : 1.0\r\n#TITLE       : a spectrum\r\n#NPOINTS     : 6.\r\n#NCOLUMNS    : {columns}\r\n"
        "#XUNITS      : Energy Loss (eV)\r\n#DATATYPE    : {kind}\r\n#XPERCHAN    : 0.5\r\n#OFFSET      : 100\r\n"
        "#SIGNALTYPE  : ELS\r\n#COMMENT     : one\r\n#COMMENT     : two\r\n##USER       : own\r\n#SPECTRUM\r\n")
save("msa", "y", (emsa.format(columns=4, kind="Y") + "1, 2, 3, 4,\r\n5, +6e0\r\n#ENDOFDATA\r\n").encode())
save("msa", "xy", (emsa.format(columns=1, kind="XY")
                   + "".join(f"{100 + i / 2}, {i}\n" for i in range(6)) + "#ENDOFDATA\n").encode())
save("msa", "cut", (emsa.format(columns=1, kind="Y") + "1\n2\n").encode())


def safetensors(header, data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


save("safetensors", "two", safetensors(
    {"__metadata__": {"config": "{}"}, "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
     "b.weight": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}}, bytes(32)))
save("safetensors", "none", safetensors({}, b""))
save("safetensors", "scalar", safetensors({"step": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}}, bytes(8)))



def zarr2(name, chunk, array=cube.astype("<f4"), **more):
    metadata = {"zarr_format": 2, "shape": array.shape, "chunks": array.shape, "dtype": array.dtype.str, "compressor": None,
                "fill_value": 0, "filters": None, "order": "C", **more}
    save("zarr", name, json.dumps(metadata).encode() + b"\0" + chunk)


def zarr3(name, chunk, packed, array=cube.astype("<f4"), **more):
    metadata = {"zarr_format": 3, "node_type": "array", "shape": array.shape, "data_type": array.dtype.name,
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": array.shape}},
                "chunk_key_encoding": {"name": "default"}, "fill_value": 0, "attributes": {},
                "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, *packed], **more}
    save("zarr", name, json.dumps(metadata).encode() + b"\0" + chunk)


plain_chunk = np.repeat(np.arange(6), 4).astype("<f4").tobytes()
zarr2("plain", plain_chunk)
zarr2("fortran", plain_chunk, order="F", dimension_separator="/", fill_value="NaN")
zarr2("edges", plain_chunk, chunks=[1, 4, 6], fill_value=-1.5)
zarr2("zlib", zlib.compress(plain_chunk), compressor={"id": "zlib", "level": 1})
for cname, shuffle in [("lz4", 0), ("lz4", 2), ("blosclz", 1), ("zstd", 1), ("zlib", 0)]:
    codec = numcodecs.Blosc(cname, 5, shuffle)
    long = np.zeros((2, 3, 400), "<u2")
    long[:, :, ::7] = 3
    zarr2(f"blosc_{cname}_{shuffle}", codec.encode(long), long, compressor=codec.get_config())
zarr2("text", struct.pack("<II", 2, 2) + b"Fe" + struct.pack("<I", 0), np.zeros(2), dtype="|O",
      filters=[{"id": "vlen-utf8"}])
zarr2("text_json", b'["Fe", "", "|O", [2]]', np.zeros(2), dtype="|O", filters=[{"id": "json2"}])
zarr2("list", np.arange(3).astype(">i2").tobytes(), np.zeros(3, ">i2"))
zarr3("v3_plain", plain_chunk, [])
zarr3("v3_zstd", bytes(numcodecs.Zstd(1).encode(plain_chunk)), [{"name": "zstd"}])
zarr3("v3_gzip", gzip.compress(plain_chunk, mtime=0), [{"name": "gzip"}], chunk_key_encoding={"name": "v2"})
zarr3("v3_transposed", plain_chunk, [], fill_value="0x7fc00000", codecs=[
    {"name": "transpose", "configuration": {"order": [2, 0, 1]}}, {"name": "bytes", "configuration": {"endian": "big"}}])
zarr3("v3_checked", b"123456789" + struct.pack("<I", 0xe3069283), [{"name": "crc32c"}], np.zeros((1, 3, 3), "u1"))
zarr3("v3_sharded", plain_chunk, [], codecs=[{"name": "sharding_indexed", "configuration": {}}])

for name in sorted(os.listdir(root.parent.parent / "configs")):
    save("config", name[:-5], (root.parent.parent / "configs" / name).read_bytes())
save("config", "settings", b'{"training": {"epochs": 7}, "device": "cpu"}\0training.epochs=5\0detection.window=1,2\0'
     b"data.energy_range=null\0model.channels=8,16,32,64\0data.axes=Eyx\0precision=bf16")


# The stream of a detector: fuzz/simplon.cpp says how an input holds it.
def cbor(value):
    """A message of version 2 holds these."""
    def head(major, argument):
        for info, length in ((24, 1), (25, 2), (26, 4), (27, 8)):
            if argument < 24:
                return bytes([major << 5 | argument])
            if argument < 1 << 8 * length:
                return bytes([major << 5 | info]) + argument.to_bytes(length, "big")
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(cbor(item) for item in value)
    if isinstance(value, dict):
        return head(5, len(value)) + b"".join(cbor(key) + cbor(item) for key, item in value.items())
    tag, content = value
    return head(6, tag) + cbor(content)


def lz4(content):
    return numcodecs.lz4.compress(content)[4:]


def lz4_blocks(content, size=64):
    blocks = [content[i:i + size] for i in range(0, len(content), size)]
    packed = [min(lz4(block), block, key=len) for block in blocks]
    return struct.pack(">QI", len(content), size) + b"".join(struct.pack(">I", len(block)) + block for block in packed)


def bitshuffle_lz4(array, elements=16):
    flat, packed = array.ravel(), b""
    whole = len(flat) // 8 * 8
    for begin in range(0, whole, elements):
        block = np.frombuffer(flat[begin:min(begin + elements, whole)].tobytes(), np.uint8)
        bits = np.unpackbits(block, bitorder="little").reshape(-1, 8 * array.itemsize)
        block = lz4(np.packbits(bits.T, bitorder="little").tobytes())
        packed += struct.pack(">I", len(block)) + block
    return struct.pack(">QI", array.nbytes, elements * array.itemsize) + packed + flat[whole:].tobytes()


def stream(choices, messages):
    content = bytes([choices])
    for parts in messages:
        for i, part in enumerate(parts):
            content += struct.pack("<BI", i == len(parts) - 1, len(part)) + part
    return content


def version1(encoding, type_name, packed, detail="basic", appendix=()):
    header = [{"htype": "dheader-1.0", "series": 3, "header_detail": detail}]
    if detail != "none":
        header.append({"x_pixels_in_detector": 5, "y_pixels_in_detector": 4, "bit_depth_image": 16, "nimages": 3,
                       "ntrigger": 4, "trigger_mode": "exts", "frame_time": 0.001})
    parts = [json.dumps(part).encode() for part in header]
    if detail == "all":
        parts += [json.dumps({"htype": "dflatfield-1.0", "shape": [5, 4], "type": "float32"}).encode(), bytes(80)]
    messages = [parts + list(appendix)]
    for frame in (0, 1, 3, 3, 2, 40):
        messages.append([json.dumps({"htype": "dimage-1.0", "series": 3, "frame": frame, "hash": ""}).encode(),
                         json.dumps({"htype": "dimage_d-1.0", "shape": [5, 4], "type": type_name,
                                     "encoding": encoding, "size": len(packed)}).encode(),
                         packed, b'{"htype": "dconfig-1.0", "start_time": 0}'])
    return messages + [[b'{"htype": "dseries_end-1.0", "series": 3}']]


def version2(tag, content, **start):
    image = (40, [[4, 5], (tag, content)])
    messages = [[cbor({"type": "start", "series_id": 3, "number_of_images": 12, "image_size_x": 5, "image_size_y": 4,
                       "frame_time": 0.001, "channels": ["a", "b"], **start})]]
    for frame in (0, 1, 3, 3, 2, 40):
        messages.append([cbor({"type": "image", "series_id": 3, "image_id": frame, "data": {"a": image, "b": image}})])
    return messages + [[cbor({"type": "end", "series_id": 3})]]


image = np.arange(20).reshape(4, 5)
scan = {"scan_shape": [3, 4], "energy_offset": -2.5, "dispersion": 0.25}
for code, bits, tag in (("<u1", 8, 64), ("<u2", 16, 69), ("<u4", 32, 70)):
    numbers = image.astype(code)
    raw, bytes_each = numbers.tobytes(), bits // 8
    save("simplon", f"version1_{bits}", stream(4, version1("<", f"uint{bits}", raw)))
    save("simplon", f"version1_lz4_{bits}", stream(13, version1("lz4<", f"uint{bits}", lz4(raw))))
    save("simplon", f"version1_bslz4_{bits}",
         stream(0x11, version1(f"bs{bits}-lz4<", f"uint{bits}", bitshuffle_lz4(numbers), "all", [json.dumps(scan).encode()])))
    save("simplon", f"version2_{bits}", stream(4, version2(tag, raw)))
    save("simplon", f"version2_lz4_{bits}", stream(15, version2(tag, (56500, ["lz4", 0, lz4_blocks(raw)]))))
    save("simplon", f"version2_bslz4_{bits}",
         stream(0x20, version2(tag, (56500, ["bslz4", bytes_each, bitshuffle_lz4(numbers)]), user_data=scan)))
save("simplon", "version1_none", stream(4, version1("<", "uint16", image.astype("<u2").tobytes(), "none")))
save("simplon", "version2_no_data", stream(4, version2(69, np.where(image % 3, 65535, image).astype("<u2").tobytes())))
save("simplon", "version2_text", stream(0, version2(65, image.astype(">u2").tobytes(), user_data=json.dumps(scan))))

sys.path.insert(0, str(root.parent.parent / "python"))
from eelsvae_client import encode  # noqa: E402

start = {"type": "start", "version": 1, "series": "film", "title": "a film", "shape": [2, 3], "channels": 4,
         "energy_offset": 100.0, "dispersion": 0.25, "dtype": "uint16", "resume": False}
block = {"type": "block", "series": "film", "number": 0, "first": 1, "count": 2, "data": cube[0, :2].astype("<u2").tobytes()}
save("serve", "start", encode(start))
save("serve", "start_all", encode({**start, "excluded": bytes(6), "rate": 1000, "resume": True, "more": {"a": [1.5, None]}}))
save("serve", "block", encode(block))
save("serve", "block_tagged", encode(block).replace(b"\x64data", b"\x64data\xd8\x45"))
save("serve", "block_double", encode({**block, "data": cube[0, :2].astype("<f8").tobytes()}))
for kind in ["end", "status", "watch", "beat", "leave"]:
    save("serve", kind, encode({"type": kind, "series": "film"}))
save("serve", "half", encode({"type": "start", "version": 1}) + b"\xf9\x3c\x00")
save("serve", "deep", b"\xa2\x64type\x65start\x61x" + b"\x81" * 20 + b"\x00")
save("serve", "long", b"\xa1\x64type\x9b" + b"\x7f" + b"\xff" * 7)
