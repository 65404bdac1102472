#include "io/formats/zspy.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "io/formats/hspy.h"
#include "io/formats/input_digest.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/io/containers/zarr_folder.h"
#include "tests/io/containers/zip_file.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

using nlohmann::json;

const std::string data = "Experiments/a/data";

// The bytes of the floats `first`, first + 1, ...
std::string floats(size_t count, float first = 0) {
  std::string bytes(count * sizeof(float), '\0');
  for (size_t i = 0; i < count; ++i) {
    const float value = first + static_cast<float>(i);
    std::memcpy(&bytes[i * sizeof(float)], &value, sizeof(float));
  }
  return bytes;
}

std::string little(uint32_t value) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> 8 * i & 255);
  return bytes;
}

// A chunk of Blosc that is stored as it is; the header states the lengths.
std::string blosc(const std::string& content, uint32_t states, uint32_t states_packed) {
  return std::string("\x02\x01\x02\x04", 4) + little(states) + little(states) + little(states_packed) +
         content;
}

std::string zlib_packed(const std::string& content) {
  std::string packed(compressBound(content.size()), '\0');
  uLongf size = packed.size();
  compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(content.data()),
           content.size());
  packed.resize(size);
  return packed;
}

CountArray counted(size_t count, float first = 0) {
  CountArray values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

class ZspyTest : public FileTest {
 protected:
  // An image (2, 3, 4) in one chunk, whose file is yet to be written.
  ZarrFolder folder(int version = 2, const json& more = json::object()) const {
    std::filesystem::remove_all(path("a.zspy"));
    const ZarrFolder folder(path("a.zspy"), version);
    folder.image();
    folder.array(data, {2, 3, 4}, {2, 3, 4}, more);
    return folder;
  }
  std::string refusal() const {
    return user_error([&] { read_spectrum_image(path("a.zspy")); });
  }
  // What is said of the only chunk.
  std::string refusal_of_chunk(const std::string& content, const json& more, int version = 2) const {
    const ZarrFolder made = folder(version, more);
    made.write(data + (version == 3 ? "/c/0/0/0" : "/0.0.0"), content);
    return refusal();
  }
};

TEST_F(ZspyTest, ReadsBothVersions) {
  for (const int version : {2, 3}) {
    const ZarrFolder made = folder(version);
    made.write(data + (version == 3 ? "/c/0/0/0" : "/0.0.0"), floats(24));
    EXPECT_EQ(image_format_name(path("a.zspy")), "HyperSpy in Zarr");
    for (const std::string& file : {path("a.zspy"), path("a.zspy/")}) {
      const SpectrumImage image = read_spectrum_image(file);
      EXPECT_EQ(image.counts, counted(24));
      EXPECT_EQ(image.title, "a");
      EXPECT_EQ(image.y, (Axis{"y", "nm", 0, 0.5, 2}));
      EXPECT_EQ(image.energy, (Axis{"E", "eV", 500, 0.5, 4}));
    }
  }
}

// Chunks (1, 2, 3) of which those at the far edges reach beyond the image, and some are not there.
TEST_F(ZspyTest, MissingChunksAreTheFillValue) {
  for (const auto& [fill, value] :
       {std::pair<json, float>{7, 7.f}, {nullptr, 0.f}, {"NaN", NAN}, {"Infinity", INFINITY}}) {
    const ZarrFolder made = folder();
    made.array(data, {2, 3, 4}, {1, 2, 3}, {{"fill_value", fill}, {"dimension_separator", "/"}});
    made.write(data + "/0/1/1", floats(6, 100));  // y 0, x 2 and beyond, E 3 and beyond
    CountArray expected(24, value);
    expected[11] = 100;
    bool finite = true;
    const CountArray counts = read_spectrum_image(path("a.zspy"), {}, &finite).counts;
    EXPECT_EQ(finite, std::isfinite(value));
    for (size_t i = 0; i < 24; ++i)
      EXPECT_TRUE(counts[i] == expected[i] || (std::isnan(counts[i]) && std::isnan(expected[i])))
          << fill << i;
  }
  // Version 3 may give a number by its bits.
  const ZarrFolder made = folder(3, {{"fill_value", "0x41000000"}});
  made.array(data, {2, 3, 4}, {1, 3, 4}, {{"fill_value", "0x41000000"}});
  made.write(data + "/c/0/0/0", floats(12));
  EXPECT_EQ(read_spectrum_image(path("a.zspy")).counts.back(), 8);
}

// zarr-python before 2.8 did not say that chunks lie in folders.
TEST_F(ZspyTest, ChunksInFoldersWithoutAWord) {
  folder().write(data + "/0/0/0", floats(24));
  EXPECT_EQ(read_spectrum_image(path("a.zspy")).counts, counted(24));
}

TEST_F(ZspyTest, DamagedChunksAreNamed) {
  const std::string bad = path("a.zspy/" + data + "/0.0.0") +
                          ": damaged or cut off; copy the folder again from where it was written";
  const json as_blosc = {{"compressor", {{"id", "blosc"}}}}, as_zlib = {{"compressor", {{"id", "zlib"}}}},
             as_zstd = {{"compressor", {{"id", "zstd"}}}}, as_gzip = {{"compressor", {{"id", "gzip"}}}};
  EXPECT_EQ(refusal_of_chunk(floats(24), json::object()), "");
  EXPECT_EQ(refusal_of_chunk(floats(23), json::object()), bad);
  EXPECT_EQ(refusal_of_chunk(floats(25), json::object()), bad);
  EXPECT_EQ(refusal_of_chunk("", json::object()), bad);
  EXPECT_EQ(refusal_of_chunk(zlib_packed(floats(24)), as_zlib), "");
  EXPECT_EQ(refusal_of_chunk(zlib_packed(floats(25)), as_zlib), bad);
  EXPECT_EQ(refusal_of_chunk(zlib_packed(floats(24)).substr(0, 20), as_zlib), bad);
  EXPECT_EQ(refusal_of_chunk(blosc(floats(24), 96, 112), as_blosc), "");
  EXPECT_EQ(refusal_of_chunk(blosc(floats(24), 100, 112), as_blosc), bad);
  EXPECT_EQ(refusal_of_chunk(blosc(floats(24), 96, 2000), as_blosc), bad);
  EXPECT_EQ(refusal_of_chunk(blosc(floats(24), 96, 112).substr(0, 60), as_blosc), bad);
  EXPECT_EQ(refusal_of_chunk(blosc("", 96, 16), as_blosc), bad);
  EXPECT_EQ(refusal_of_chunk("\x02\x01", as_blosc), bad);
  for (const json& as : {as_blosc, as_zlib, as_zstd, as_gzip})
    EXPECT_EQ(refusal_of_chunk(floats(24), as), bad);
}

// CRC-32C of "123456789" is 0xe3069283, as the catalogue of CRCs has it.
TEST_F(ZspyTest, ChecksumsAreCompared) {
  const json more = {{"data_type", "uint8"}, {"codecs", {{{"name", "bytes"}}, {{"name", "crc32c"}}}}};
  for (const bool right : {true, false}) {
    const ZarrFolder made = folder(3);
    json shaped = more;
    made.array(data, {1, 3, 3}, {1, 3, 3}, shaped);
    made.write(data + "/c/0/0/0", "123456789" + little(right ? 0xe3069283 : 0xe3069284));
    EXPECT_EQ(refusal().empty(), right);
  }
}

TEST_F(ZspyTest, WhatIsPackedOtherwiseIsNamed) {
  const auto said = [&](const std::string& what) {
    return path("a.zspy/" + data) + ": the chunks are " + what +
           ", which is not read; load it in HyperSpy or Python and save it as .hspy, or with Blosc, zstd or "
           "gzip";
  };
  EXPECT_EQ(refusal_of_chunk("", {{"compressor", {{"id", "lz4"}}}}), said("compressed by 'lz4'"));
  EXPECT_EQ(refusal_of_chunk("", {{"filters", {{{"id", "delta"}}}}}),
            said("passed through the filter 'delta'"));
  EXPECT_EQ(refusal_of_chunk("", {{"codecs", {{{"name", "sharding_indexed"}}}}}, 3),
            said("put together in shards (codec 'sharding_indexed')"));
  EXPECT_EQ(refusal_of_chunk("", {{"codecs", {{{"name", "bytes"}}, {{"name", "pcodec"}}}}}, 3),
            said("packed by the codec 'pcodec'"));
  EXPECT_EQ(refusal_of_chunk("", {{"dtype", "<c8"}}),
            path("a.zspy") +
                ": the spectrum image holds data of type complex64, integers or floats are needed; save the "
                "real part, or the field that holds the counts");
}

TEST_F(ZspyTest, SizesAreNotBelieved) {
  const auto refused = [&](const json& more, const std::string& what, int version = 2) {
    const std::string said = refusal_of_chunk(floats(24), more, version);
    EXPECT_NE(said.find(what), std::string::npos) << more << said;
    EXPECT_EQ(said.rfind(path("a.zspy/" + data), 0), 0u) << said;
  };
  const int64_t large = int64_t{1} << 40;
  refused({{"shape", {large, large, large}}}, "more elements than any memory holds");
  refused({{"shape", {-1, 3, 4}}}, "an axis has the size -1");
  refused({{"shape", {1e300, 3, 4}}}, "an axis has the size 1e+300");
  refused({{"shape", {2, 3}}}, "the shape is (2, 3), that of its chunks (2, 3, 4)");
  refused({{"shape", std::vector<int>(40, 1)}}, "more than 32 axes");
  refused({{"shape", "large"}}, "more than 32 axes, or none that can be read");
  refused({{"chunks", {0, 3, 4}}}, "an axis has the size 0");
  refused({{"chunks", {2, 3, large}}}, "a chunk is more than 1 GiB larger than the array");
  refused({{"dtype", nullptr}, {"chunks", nullptr}}, "more than 32 axes, or none that can be read");
  refused({{"fill_value", "many"}}, "the fill value is");
  refused({{"zarr_format", 7}}, "Zarr of version 7, versions 2 and 3 are read");
  refused({{"compressor", {{"name", "x"}}}}, "its description is damaged, or of a later version of Zarr");
  refused({{"codecs", json::array()}}, "no codec makes bytes of the chunks", 3);
  refused({{"codecs", {{{"name", "transpose"}, {"configuration", {{"order", {0, 0, 1}}}}}}}},
          "no order of the axes", 3);
  refused({{"chunk_grid", {{"name", "rectilinear"}}}}, "a regular one is needed", 3);

  // The axes do not say how long they are: what is allocated is bounded by the chunks.
  folder().array(data, {4000, 4000, 4000}, {100, 100, 4000});
  std::ofstream(path("a.zspy/" + data + "/0.0.0")) << floats(24);
  EXPECT_NE(refusal().find("its shape is (4000, 4000, 4000), but its chunks have "), std::string::npos)
      << refusal();
  folder().array(data, {200, 200, 200}, {1, 1, 1});
  std::ofstream(path("a.zspy/" + data + "/0.0.0")) << std::string(1 << 20, 'x');
  EXPECT_NE(refusal().find("more than 4194304 chunks"), std::string::npos) << refusal();
}

TEST_F(ZspyTest, SaysThatChunksAreMissingOrAreThoseOfAnotherArray) {
  folder().write(data + "/0.0.0", floats(24));
  EXPECT_TRUE(list_images(path("a.zspy"))[0].notes.empty());
  folder().write(data + "/1.0.0", floats(24));
  EXPECT_NE(refusal().find("but 1 files are chunks of another shape"), std::string::npos) << refusal();

  std::filesystem::remove_all(path("a.zspy"));
  const ZarrFolder made = folder();
  made.array(data, {2, 3, 4}, {1, 3, 4});
  made.write(data + "/1.0.0", floats(12));
  const std::vector<std::string> notes = list_images(path("a.zspy"))[0].notes;
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("1 of the 2 chunks of the data have no file and are taken for 0"),
            std::string::npos)
      << notes[0];
}

TEST_F(ZspyTest, SaysThatNoChunkIsThere) {
  folder().write(data + "/x", floats(24));
  EXPECT_EQ(refusal(), path("a.zspy/" + data) +
                           ": none of the chunks that are needed is there, as 0.0.0; copy the folder again "
                           "from where it was written");
}

TEST_F(ZspyTest, LinksDoNotLeadOut) {
  const ZarrFolder made = folder();
  write_bytes(path("outside"), floats(24));
  const std::string chunk = path("a.zspy/" + data + "/0.0.0");
  std::filesystem::create_symlink("../../../../outside", chunk);
  EXPECT_EQ(refusal(),
            chunk + ": is a link out of the folder; copy the folder with what it links to: cp -rL");
  std::filesystem::remove(path("outside"));
  EXPECT_EQ(refusal(), chunk + ": is a link to a file that is not there");
  std::filesystem::remove(chunk);
  made.write("kept", floats(24));
  std::filesystem::create_symlink("../../../kept", chunk);
  EXPECT_EQ(read_spectrum_image(path("a.zspy")).counts, counted(24));
  std::filesystem::create_symlink("a.zspy", path("link.zspy"));
  EXPECT_EQ(read_spectrum_image(path("link.zspy")).counts, counted(24));
  // Groups that contain themselves.
  made.group("Experiments/a/original_metadata", {{"b", 1}});
  std::filesystem::create_directory_symlink("..", path("a.zspy/Experiments/a/original_metadata/again"));
  EXPECT_NE(refusal().find("groups nest deeper than 32"), std::string::npos) << refusal();
}

TEST_F(ZspyTest, MetadataAsInHdf5) {
  const ZarrFolder made = folder();
  made.write(data + "/0.0.0", floats(24));
  made.group("Experiments/a/metadata/General", {{"title", "shown\x1b"}, {"_list_empty_notes", "_None_"}});
  made.group("Experiments/a/original_metadata", {{"none", "_None_"}, {"live", true}});
  made.group("Experiments/a/original_metadata/_list_2_mixed", {{"0", 1.5}, {"1", "b"}});
  made.array("Experiments/a/original_metadata/_list_counts", {3}, {2}, {{"dtype", ">i2"}});
  made.write("Experiments/a/original_metadata/_list_counts/0", std::string("\0\1\xff\xff", 4));
  made.write("Experiments/a/original_metadata/_list_counts/1", std::string("\0\3\0\0", 4));
  const json texts = {{"dtype", "|O"}, {"filters", {{{"id", "vlen-utf8"}}}}};
  made.array("Experiments/a/original_metadata/_list_names", {2}, {2}, texts);
  made.write("Experiments/a/original_metadata/_list_names/0", little(2) + little(2) + "Fe" + little(0));
  made.array("Experiments/a/original_metadata/_list_old", {2}, {2},
             {{"dtype", "|O"}, {"filters", {{{"id", "json2"}}}}});
  made.write("Experiments/a/original_metadata/_list_old/0", R"(["Fe", "", "|O", [2]])");
  made.array("Experiments/a/original_metadata/image", {100, 100}, {100, 100});  // too large for metadata
  const SpectrumImage image = read_spectrum_image(path("a.zspy"));
  EXPECT_EQ(image.title, "shown ");
  const json metadata = json::parse(image.metadata);
  EXPECT_EQ(metadata["metadata"]["General"]["notes"], json::array());
  EXPECT_EQ(metadata["original_metadata"], (json{{"none", nullptr},
                                                 {"live", true},
                                                 {"mixed", {1.5, "b"}},
                                                 {"counts", {1, -1, 3}},
                                                 {"names", {"Fe", ""}},
                                                 {"old", {"Fe", ""}}}));
  // What lies about its lengths is one line.
  for (const std::string& wrong :
       {little(1) + little(2) + "Fe", little(2) + little(2) + "F", little(2), std::string()}) {
    made.write("Experiments/a/original_metadata/_list_names/0", wrong);
    EXPECT_NE(refusal().find("_list_names/0: damaged or cut off"), std::string::npos) << refusal();
  }
}

TEST_F(ZspyTest, OtherFoldersOfZarr) {
  const ZarrFolder other(path("b.zarr"), 2);
  other.group("labels");
  EXPECT_EQ(user_error([&] { list_images(path("b.zarr")); }),
            path("b.zarr") +
                ": a Zarr folder, but not of HyperSpy; at its top are 'labels'; save its array as .npz with "
                "data and energy");
  const ZarrFolder empty(path("c.zspy"), 3);
  empty.group("Experiments");
  EXPECT_EQ(user_error([&] { read_spectrum_image(path("c.zspy")); }), path("c.zspy") + ": holds no image");
}

TEST_F(ZspyTest, AZippedFolderIsNamed) {
  write_bytes(path("a.zspy"), zip_file({{".zgroup", "{\"zarr_format\": 2}"}}));
  EXPECT_EQ(
      refusal(),
      path("a.zspy") + ": is a zipped .zspy; unpack it into a folder and give that: unzip -d scan.zspy FILE");
}

TEST_F(ZspyTest, DeepJsonIsRefused) {
  const ZarrFolder made = folder();
  made.write(data + "/0.0.0", floats(24));
  std::string deep = "{\"a\": ";
  for (int i = 0; i < 5000; ++i) deep += "{\"a\": ";
  made.write("Experiments/a/axis-0/.zattrs", deep);
  EXPECT_NE(refusal().find("JSON nested deeper than 100"), std::string::npos) << refusal();
}

// A folder is an input like a file: sha256sum's lines of what lies in it, once more through sha256sum.
TEST_F(ZspyTest, IsRecordedByAllItsFiles) {
  std::filesystem::create_directories(path("d/b"));
  write_bytes(path("d/b/x"), "abc");
  write_bytes(path("d/a"), "");
  const InputFile input = record_inputs({path("d")}).at(0);
  EXPECT_EQ(input.bytes, 3u);
  EXPECT_EQ(input.path, path("d"));
  const ProgramResult sums = run({"/bin/sh", "-c", "cd " + path("d") + " && sha256sum a b/x | sha256sum"});
  EXPECT_EQ(input.sha256, sums.out.substr(0, 64));
}

}  // namespace
}  // namespace eelsvae
