"""Writes spectrum images with HyperSpy and RosettaSciIO, h5py, zarr-python 2, ncempy and Nion Swift.

    build/writers/hyperspy/bin/python tests/io/writers/write_with_the_field.py FOLDER
"""
import itertools
import json
import pathlib
import sys
import types
import warnings

warnings.simplefilter("ignore")  # the libraries' own, about each other
import h5py
import hdf5plugin
import hyperspy.api as hs
import ncempy.io.emd
import numcodecs
import numpy as np
import zarr
from nion.data import Calibration, DataAndMetadata
from nion.swift.model import DataItem, HDF5Handler, NDataHandler
from nionswift_plugin.DM_IO import dm3_image_utils

from expected import ENERGY, PLACES, Cases, axes, cube

hs.preferences.General.show_progressbar = False
cases = Cases(sys.argv[1])
dtypes = [order + kind for kind in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")
          for order in ("<", ">") if order == "<" or kind[1] != "1"]


def signal(data, of=None):
    result = hs.signals.Signal1D(data, axes=[dict(axis, size=size, navigate=axis is not ENERGY)
                                             for axis, size in zip(of or axes(data.ndim - 1), data.shape)])
    result.set_signal_type("EELS")
    result.metadata.General.title = "a scan \u00b5"
    result.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 200.5)
    result.original_metadata.add_dictionary({
        "numbers": [1, 2, 3], "pair": (0.5, 1.5), "names": ["Fe", "O\u00b2", ""], "mixed": [1, "a", [2, 3]], "none": None,
        "empty": [], "live": True, "deep": {"er": {"still": 1}}, "array": np.arange(5, dtype=">i2"),
        "halves": np.array([0.5, -1], "f2")})
    return result


# .hspy: every type, and every filter that HDF5 or h5py itself has.
hdf5_filters = itertools.cycle([
    dict(compression=None), dict(compression="gzip"), dict(compression="lzf"), dict(compression="gzip", shuffle=True),
    dict(compression="lzf", shuffle=True), dict(compression=None, chunks=(1, 2, 16)),
    dict(compression="gzip", chunks=(3, 5, 37)), dict(compression="gzip", chunks=(4, 5, 7), compression_opts=9)])
for dtype in dtypes:
    data = cube(2, dtype)
    name = f"{dtype[1:]}_{'big' if dtype[0] == '>' else 'little'}.hspy"
    signal(data).save(cases.path(name), **next(hdf5_filters))
    cases.add(name, data)

# .zspy: every type, and every compressor that is read.
blosc = [numcodecs.Blosc(cname=cname, clevel=clevel, shuffle=shuffle) for cname, clevel in
         (("lz4", 1), ("blosclz", 5), ("zstd", 1), ("lz4hc", 9), ("zlib", 5), ("snappy", 1)) for shuffle in (0, 1, 2)
         if cname in numcodecs.blosc.list_compressors()]
compressors = itertools.cycle([None, *blosc, numcodecs.Zstd(3), numcodecs.Zlib(6), numcodecs.GZip(1)])
zarr_chunks = itertools.cycle([None, (1, 1, 37), (2, 3, 16), (4, 5, 37), (3, 2, 37)])
for dtype in dtypes:
    data = cube(2, dtype)
    name = f"{dtype[1:]}_{'big' if dtype[0] == '>' else 'little'}.zspy"
    signal(data).save(cases.path(name), compressor=next(compressors), chunks=next(zarr_chunks))
    cases.add(name, data, metadata_of=name.replace(".zspy", ".hspy"))

# Each compressor with chunks that it makes smaller.
smooth = (np.arange(4 * 5 * 37) // 50).astype("<u4").reshape(4, 5, 37)
for i, compressor in enumerate([*blosc, numcodecs.Zstd(3), numcodecs.Zlib(6), numcodecs.GZip(1)]):
    name = f"compressor{i}.zspy"
    signal(smooth).save(cases.path(name), compressor=compressor, chunks=(3, 5, 20))
    cases.add(name, smooth)

# What HyperSpy does not ask zarr and HDF5 for, but reads.
for i, options in enumerate([dict(order="F"), dict(order="F", compressor=None), dict(compressor=None),
                             dict(dimension_separator="."), dict(dimension_separator=".", order="F"),
                             dict(fill_value=None), dict(fill_value=7, write_empty_chunks=False)]):
    name = f"options{i}.zspy"
    data = cube(2, "<f4")
    if "fill_value" in options:
        data[:2] = 7
    signal(data).save(cases.path(name))
    group = zarr.open_group(cases.path(name), "a")["Experiments/a scan \u00b5"]
    del group["data"]
    group.create_dataset("data", shape=data.shape, dtype=data.dtype, chunks=(2, 5, 16), **options)[:] = data
    cases.add(name, data)
# Filters of hdf5plugin, in chunks that are large, small, or of one byte a number.
for i, (dtype, chunks, options) in enumerate(itertools.product(
        ["<f4", ">u2", "|u1"], [(4, 5, 37), (1, 2, 16)],
        [hdf5plugin.Zstd(), hdf5plugin.Blosc(cname="lz4", shuffle=hdf5plugin.Blosc.SHUFFLE),
         hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.BITSHUFFLE), hdf5plugin.Blosc(cname="blosclz")])):
    name = f"plugin{i}.hspy"
    data = cube(2, dtype)
    signal(data).save(cases.path(name))
    with h5py.File(cases.path(name), "a") as file:
        group = file["Experiments/a scan \u00b5"]
        del group["data"]
        group.create_dataset("data", data=data, chunks=chunks, **options)
    cases.add(name, data)
# A checksum behind the packed chunks.
for i, (dtype, options) in enumerate(itertools.product(
        ["<f4", ">u2", "|u1"], [hdf5plugin.Zstd(), dict(compression="gzip", shuffle=True), dict(compression="lzf")])):
    name = f"checksum{i}.hspy"
    data = cube(2, dtype)
    signal(data).save(cases.path(name))
    with h5py.File(cases.path(name), "a") as file:
        group = file["Experiments/a scan \u00b5"]
        del group["data"]
        group.create_dataset("data", data=data, chunks=(3, 5, 37), fletcher32=True, **options)
    cases.add(name, data)
# Yes and no are 1 and 0.
for suffix, options in itertools.product(("hspy", "zspy"), (dict(), dict(chunks=(2, 5, 20)), dict(chunks=(1, 1, 4)))):
    data = cube(2, "<i4") % 2 == 1
    name = f"bool{'_'.join(map(str, options.get('chunks', '')))}.{suffix}"
    signal(data).save(cases.path(name), **options)
    cases.add(name, data)
for i, options in enumerate([dict(), dict(chunks=(4, 5, 37), compression="szip"), dict(chunks=(2, 2, 37), scaleoffset=0),
                             dict(chunks=(2, 2, 37), fletcher32=True), dict(chunks=(1, 1, 8), maxshape=(None, 5, 37))]):
    name = f"options{i}.hspy"
    data = cube(2, "<i4") // 2**20 if "scaleoffset" in options else cube(2, "<i4")
    signal(data).save(cases.path(name))
    if options.get("compression") == "szip" and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        continue
    with h5py.File(cases.path(name), "a", libver=("earliest", "v110") if i % 2 else "earliest") as file:
        group = file["Experiments/a scan \u00b5"]
        del group["data"]
        group.create_dataset("data", data=data, **options)
    cases.add(name, data)

# From a spectrum to a time series, and the energy elsewhere in the file.
for places, suffix in itertools.product(range(4), ("hspy", "zspy")):
    data = cube(places, "<f4")
    name = f"places{places}.{suffix}"
    signal(data).save(cases.path(name))
    cases.add(name, data)
for order, suffix in itertools.product([(2, 0, 1), (0, 2, 1)], ("hspy", "zspy")):
    data = cube(2, ">u2")
    name = f"order{''.join(map(str, order))}.{suffix}"
    signal(np.ascontiguousarray(data.transpose(order)), [axes(2)[i] for i in order]).save(cases.path(name))
    cases.add(name, data)
for suffix in ("hspy", "zspy"):  # an axis that lists its positions
    data = cube(2, "<f4")
    name = f"positions.{suffix}"
    listed = signal(data)
    listed.axes_manager[-1].convert_to_non_uniform_axis()
    listed.save(cases.path(name))
    cases.add(name, data)

# NCEM's EMD.
for dtype, options in zip(dtypes, itertools.cycle([{}, dict(compression="gzip"), dict(compression="lzf", chunks=(2, 5, 37))])):
    data = cube(2, dtype)
    name = f"{dtype[1:]}_{'big' if dtype[0] == '>' else 'little'}.emd"
    dims = tuple((axis["offset"] + axis["scale"] * np.arange(size), axis["name"], axis["units"])
                 for axis, size in zip(axes(2), data.shape))
    with ncempy.io.emd.fileEMD(cases.path(name), readonly=False) as file:
        assert file.put_emdgroup("scan", data, dims, **options) is not None
    cases.add(name, data)

# DigitalMicrograph's, from Nion Swift.
for version, dtype in itertools.product((3, 4), ("<i2", "<u2", "<i4", "<u4", "<f4", "<f8")):
    data = cube(2, dtype)
    name = f"{dtype[1:]}.dm{version}"
    calibrations = [Calibration.Calibration(axis["offset"], axis["scale"], axis["units"]) for axis in axes(2)]
    with open(cases.path(name), "w+b") as file:
        dm3_image_utils.save_image(DataAndMetadata.new_data_and_metadata(
            data, dimensional_calibrations=calibrations, data_descriptor=DataAndMetadata.DataDescriptor(False, 2, 1)),
            file, version)
    unnamed = [dict(axis, name=None) for axis in axes(2)]
    cases.add(name, data, unnamed)

# Panta Rhei's .prz: from HyperSpy, which reads back its own turned round and without axes, ...
for places, dtype in itertools.chain(((p, "<f4") for p in (0, 1, 3)), ((2, d) for d in dtypes)):
    data = cube(places, dtype)
    name = f"places{places}_{dtype[1:]}_{'big' if dtype[0] == '>' else 'little'}.prz"
    signal(data).save(cases.path(name))
    cases.add(name, data, [dict(axis, name=None) for axis in axes(places)])
# ... in other units, ...
for energy_units, energy_size, place_units, place_size in [("keV", 1000, "um", 1000), ("meV", 1 / 1000, "pm", 1 / 1000),
                                                           ("eV", 1, "\u00c5", 1 / 10), ("eV", 1, "m", 1e9)]:
    data = cube(2, ">f4")
    written = [dict(axis, units=units, offset=axis["offset"] / size, scale=axis["scale"] / size) for axis, units, size in
               zip(axes(2), (place_units, place_units, energy_units), (place_size, place_size, energy_size))]
    name = f"{energy_units}_{ascii(place_units).strip(chr(39)).strip(chr(92))}.prz"
    other = hs.signals.Signal1D(data, axes=[dict(axis, size=size, navigate=i < 2)
                                            for i, (axis, size) in enumerate(zip(written, data.shape))])
    other.set_signal_type("EELS")
    other.save(cases.path(name))
    cases.add(name, data, [dict(axis, name=None) for axis in axes(2)], nearly=True)
# ... with the energy elsewhere, ...
for order in [(2, 0, 1), (0, 2, 1)]:
    data = cube(2, ">u2")
    name = f"order{''.join(map(str, order))}.prz"
    signal(np.ascontiguousarray(data.transpose(order)), [axes(2)[i] for i in order]).save(cases.path(name))
    cases.add(name, data, [dict(axis, name=None) for axis in axes(2)])
# ... and as Panta Rhei writes it, energies below 0 and rising, in the order that the file says, as HyperSpy reads it.
sizes = {"Energy": 6, "ScanX": 5, "ScanY": 4}
calibrations = {"Energy": {"value": 0.25, "unit": "eV", "offset": -1700.0, "pixel_factor": 2.0, "fixed_prefix": None},
                "ScanX": {"value": 2.0**-33, "unit": "m", "offset": -16.0, "pixel_factor": 1.0},
                "ScanY": {"value": 2.0**-31, "unit": "m", "offset": 3.0}}
for version, order in itertools.product((5, 7), itertools.permutations(sizes)):  # from the fastest axis on
    name = f"{''.join(order)}{version}.prz"
    described = {"repo_id": "AB.1", "type": "3D", "filter.mode": "EELS", "content.types": list(order),
                 "ref_size": tuple(np.float64(sizes[axis]) for axis in order),
                 "device.calib": [calibrations[axis] for axis in order] + [None]}
    values = np.arange(120, dtype="<u2").reshape([sizes[axis] for axis in reversed(order)])
    text = {"meta_data_json": json.dumps([described])} if version == 7 else {}
    with open(cases.path(name), "wb") as file:
        np.savez(file, data_model=[{"objects": []}], meta_data=[described], data=values, file_format_version=version, **text)
    read = hs.load(cases.path(name), allow_restricted_pickle=True)
    energy = read.axes_manager[-1]
    falling = {"name": None, "units": "eV", "offset": energy.high_value, "scale": -energy.scale}
    cases.add(name, read.data[..., ::-1], [*({"name": None, "units": "nm", "offset": axis.offset * 1e9, "scale": axis.scale * 1e9}
                                             for axis in read.axes_manager._axes[:2]), falling])

# Nion Swift's own: what its library keeps, in both of its containers, and what it exports.
for places, dtype in itertools.chain(((p, "<f4") for p in (0, 1, 3)), ((2, d) for d in dtypes if d[0] == "<")):
    data = cube(places, dtype)
    described = axes(places)
    item = DataItem.new_data_item(DataAndMetadata.new_data_and_metadata(
        data, dimensional_calibrations=[Calibration.Calibration(axis["offset"], axis["scale"], axis["units"]) for axis in described],
        data_descriptor=DataAndMetadata.DataDescriptor(places == 3, min(places, 2), 1),
        metadata={"hardware_source": {"signal_type": "eels"}}))
    item.title = "a scan"
    unnamed = [dict(axis, name=None) for axis in described]
    for handler, suffix in ((NDataHandler.NDataHandler, "ndata"), (HDF5Handler.HDF5Handler, "h5")):
        name = f"places{places}_{dtype[1:]}.{suffix}"
        stored = handler(pathlib.Path(cases.path(name)))
        stored.write_properties(item.write_to_dict(), item.created)
        stored.write_data(data, item.created)
        stored.close()
        cases.add(name, data, unnamed)
    name = f"places{places}_{dtype[1:]}.nhdf"
    exported = types.SimpleNamespace(write_to_dict=dict, data_items=[item])
    HDF5Handler.HDFImportExportDriver().write_display_item(pathlib.Path(cases.path(name)), [exported])
    cases.add(name, data, unnamed)

# What is refused says what to do.
scan = cube(2, "<f4")
signal(scan).save(cases.path("later.hspy"))
with h5py.File(cases.path("later.hspy"), "a", libver="latest") as file:
    del file["Experiments/a scan \u00b5/data"]
    file["Experiments/a scan \u00b5"].create_dataset("data", data=scan, chunks=(2, 2, 37), fletcher32=True)
cases.refuse("later.hspy", "libver=('earliest', 'v110')")
signal(scan).save(cases.path("lz4.zspy"), compressor=numcodecs.LZ4())
cases.refuse("lz4.zspy", "compressed by 'lz4'")

cases.finish()
