"""Writes HyperSpy's tree with zarr-python 3, in versions 2 and 3 of Zarr.

    build/writers/zarr3/bin/python tests/io/writers/write_with_zarr3.py FOLDER
"""
import itertools
import sys
import warnings

warnings.simplefilter("ignore")
import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

from expected import Cases, axes, cube

cases = Cases(sys.argv[1])
dtypes = [order + kind for kind in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")
          for order in ("<", ">") if order == "<" or kind[1] != "1"]


def write(name, version, data, **options):
    root = zarr.open_group(cases.path(name), mode="w", zarr_format=version)
    root.attrs.update({"file_format": "ZSpy", "file_format_version": "3.3"})
    experiment = root.create_group("Experiments").create_group("a scan")
    for i, (axis, size) in enumerate(zip(axes(data.ndim - 1), data.shape)):
        experiment.create_group(f"axis-{i}").attrs.update(
            {**axis, "size": size, "navigate": i + 1 < data.ndim, "_type": "UniformDataAxis"})
    metadata = experiment.create_group("metadata")
    metadata.create_group("Signal").attrs["signal_type"] = "EELS"
    original = experiment.create_group("original_metadata")
    original.attrs["voltage"] = 200.5
    original.create_array("_list_numbers", data=np.arange(3))
    original.create_array("_list_names", shape=(2,), dtype=str)[:] = np.array(["Fe", "O\u00b2"], dtype=object)
    array = experiment.create_array("data", shape=data.shape, dtype=data.dtype, **options)
    array[...] = data
    cases.add(name, data, original_metadata={"voltage": 200.5, "numbers": [0, 1, 2], "names": ["Fe", "O\u00b2"]})


packed = itertools.cycle([
    dict(), dict(compressors=None), dict(compressors=ZstdCodec(level=3, checksum=True)), dict(compressors=GzipCodec(level=5)),
    *[dict(compressors=BloscCodec(cname=cname, shuffle=shuffle)) for cname in ("lz4", "zstd", "blosclz", "lz4hc", "zlib")
      for shuffle in ("noshuffle", "shuffle", "bitshuffle")]])
chunks = itertools.cycle([(2, 5, 20), (1, 1, 37), (4, 5, 37), (3, 4, 10)])
for dtype in dtypes:
    name = f"{dtype[1:]}_{'big' if dtype[0] == '>' else 'little'}_v3.zspy"
    write(name, 3, cube(2, dtype), chunks=next(chunks), **next(packed))
packed = itertools.cycle([dict(), dict(compressors=None), dict(compressors=numcodecs.Zstd(level=1)), dict(order="F"),
                          dict(compressors=numcodecs.GZip(level=5)), dict(compressors=numcodecs.Zlib(level=5)),
                          dict(compressors=numcodecs.Blosc(cname="lz4", shuffle=2))])
for dtype in dtypes:
    name = f"{dtype[1:]}_{'big' if dtype[0] == '>' else 'little'}_v2.zspy"
    write(name, 2, cube(2, dtype), chunks=next(chunks), **next(packed))

smooth = (np.arange(4 * 5 * 37) // 50).astype("<u4").reshape(4, 5, 37)
for i, options in enumerate([
        *[dict(compressors=BloscCodec(cname=cname, shuffle=shuffle)) for cname in ("lz4", "zstd", "blosclz", "lz4hc", "zlib")
          for shuffle in ("noshuffle", "shuffle", "bitshuffle")],
        dict(compressors=[ZstdCodec(), Crc32cCodec()]), dict(compressors=[Crc32cCodec(), GzipCodec()]),
        dict(compressors=[Crc32cCodec()]),
        dict(filters=[TransposeCodec(order=(2, 0, 1))]), dict(filters=[TransposeCodec(order=(1, 2, 0))], compressors=None),
        dict(filters=[TransposeCodec(order=(2, 0, 1)), TransposeCodec(order=(1, 0, 2))]),
        dict(serializer=BytesCodec(endian="big")),
        dict(chunk_key_encoding={"name": "v2", "separator": "."}), dict(chunk_key_encoding={"name": "v2", "separator": "/"}),
        dict(chunk_key_encoding={"name": "default", "separator": "."})]):
    write(f"options{i}.zspy", 3, smooth, chunks=(3, 5, 20), **options)

# Chunks of nothing but the fill value have no file.
for version, fill in ((2, 0), (3, 0), (3, np.nan), (3, -np.inf), (2, np.nan), (3, 5)):
    data = cube(2, "<f4")
    data[:2] = fill
    write(f"fill_{fill}_v{version}.zspy", version, data, chunks=(2, 5, 37), fill_value=fill)
for places in range(4):
    write(f"places{places}.zspy", 3, cube(places, "<f8"), chunks=(2,) * places + (20,))
cases.finish()
