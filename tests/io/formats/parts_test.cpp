// A part of an image, read alone, is that part of the whole, whatever the format.

#include <filesystem>
#include <map>

#include "io/files/npy.h"
#include "io/formats/spectrum_image_write.h"
#include "tests/io/containers/hdf5_writer.h"
#include "tests/io/file_test.h"
#include "tests/io/parts.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;
using hdf5::Handle;

class PartsTest : public FileTest {
 protected:
  static SpectrumImage image(int64_t height, int64_t width, int64_t channels) {
    SpectrumImage image;
    image.y = {"y", "nm", 0, 1, height};
    image.x = {"x", "nm", 0, 1, width};
    image.energy = {"Energy loss", "eV", 400, 0.5, channels};
    for (int64_t i = 0; i < height * width * channels; ++i)
      image.counts.push_back(static_cast<float>(i * 7919 % 10007));
    return image;
  }
};

// Every file that the fuzz targets start from, and every fixture, as it is and with its axes exchanged.
TEST_F(PartsTest, OfEveryFormat) {
  std::map<std::string, int> read;
  for (const char* folder : {"/fuzz/corpus", "/tests/fixtures"})
    for (const auto& entry : fs::recursive_directory_iterator(EELSVAE_SOURCE_DIR + std::string(folder))) {
      if (!entry.is_regular_file()) continue;
      const std::string file = entry.path();
      int64_t images = 0;
      try {
        images = std::ssize(list_images(file));
      } catch (const UserError&) {  // many are damaged
      }
      for (int64_t i = 0; i < 2 * images; ++i) {
        ReadOptions options;
        options.dataset = i / 2;
        options.swap_axes = i % 2 == 1;
        try {
          read[image_format_name(file)] += expect_parts_of_file(file, options);
        } catch (const UserError&) {  // many images are no spectrum images
        }
      }
    }
  for (const char* format : {"Gatan DigitalMicrograph", "Gatan DigitalMicrograph HDF5", "HyperSpy", "NumPy",
                             "NumPy archive", "Nion"})
    EXPECT_GT(read[format], 1) << format << " in " << testing::PrintToString(read);
}

TEST_F(PartsTest, OfWhatIsWritten) {
  for (const std::string name : {"a.hspy", "a.dm4", "a.npy"}) {
    write_spectrum_image(path(name), image(9, 11, 300));
    EXPECT_TRUE(expect_parts_of_file(path(name)));
  }
}

TEST_F(PartsTest, OfRipple) {
  for (const std::string record_by : {"vector", "image"}) {
    write_bytes(path("a.rpl"),
                "key\tvalue\nwidth\t5\nheight\t4\ndepth\t30\noffset\t3\ndata-length\t2\n"
                "data-type\tsigned\nbyte-order\tbig-endian\nrecord-by\t" +
                    record_by + "\n");
    std::string numbers = "abc";
    for (int i = 0; i < 600; ++i) numbers += {static_cast<char>(i >> 8), static_cast<char>(i)};
    write_bytes(path("a.raw"), numbers);
    EXPECT_TRUE(expect_parts_of_file(path("a.rpl")));
  }
}

TEST_F(PartsTest, OfVelox) {
  {
    Hdf5Writer writer(path("a.emd"));
    writer.text("Version", R"({"version": "13", "format": "Velox"})");
    const std::string group = "Data/EelsSpectrumImage/a";
    writer.dataset(group + "/Data", {4, 256, 3}, {.type = H5T_STD_U16LE, .chunk = {4, 256, 1}},
                   [&](int64_t i) { return static_cast<double>(i); });
    writer.column(group + "/AcquisitionMetadata", R"({"Data": {"offset": 800, "dispersion": "0.25"}})", 100,
                  3);
    writer.column(group + "/Metadata", "{}", 80);
  }
  EXPECT_TRUE(expect_parts_of_file(path("a.emd")));
}

TEST_F(PartsTest, OfNcem) {
  {
    Hdf5Writer writer(path("a.emd"));
    writer.dataset("g/data", {3, 4, 20}, {}, [](int64_t i) { return static_cast<double>(i); });
    writer.attribute("g", "emd_group_type", 1);
  }
  EXPECT_TRUE(expect_parts_of_file(path("a.emd")));
}

TEST_F(PartsTest, OfALineScanAndOfFramesOfASeries) {
  SpectrumImage line = image(1, 12, 40);
  write_npy(path("line.npy"), {12, 40}, line.counts.data());
  EXPECT_TRUE(expect_parts_of_file(path("line.npy")));
  const SpectrumImage series = image(15, 6, 40);
  write_npy(path("series.npy"), {5, 3, 6, 40}, series.counts.data());
  for (const std::string frame : {"0", "3", "sum"}) {
    ReadOptions options;
    options.frame = frame;
    EXPECT_TRUE(expect_parts_of_file(path("series.npy"), options));
  }
}

// The energies of the file fall, so what is last in it is read for the lowest energies.
TEST_F(PartsTest, OfFallingEnergies) {
  SpectrumImage falling = image(3, 4, 25);
  falling.energy.scale = -0.5;
  write_hspy(path("a.hspy"), falling);
  EXPECT_TRUE(expect_parts_of_file(path("a.hspy")));
  falling.y = {"", "", 500, -0.5, 3};
  falling.energy = {"", "", 0, 1, 25};
  write_hspy(path("a.hspy"), falling);
  ReadOptions options;
  options.axes = "Eyx";
  EXPECT_TRUE(expect_parts_of_file(path("a.hspy"), options));
}

// What is unpacked together, along the image's axes.
TEST_F(PartsTest, WhatIsUnpackedTogether) {
  using Sizes = std::array<int64_t, 3>;
  write_spectrum_image(path("a.npy"), image(4, 5, 20));
  EXPECT_EQ(open_spectrum_image(path("a.npy")).together(), (Sizes{1, 1, 1}));
  {
    Hdf5Writer writer(path("a.emd"));
    writer.dataset("g/data", {8, 9, 2000}, {.type = H5T_STD_U16LE, .chunk = {8, 3, 500}, .deflate = true},
                   [](int64_t i) { return static_cast<double>(i); });
    writer.attribute("g", "emd_group_type", 1);
  }
  EXPECT_EQ(open_spectrum_image(path("a.emd")).together(), (Sizes{8, 3, 500}));
  ReadOptions options;
  options.swap_axes = true;
  EXPECT_EQ(open_spectrum_image(path("a.emd"), options).together(), (Sizes{3, 8, 500}));
  options.axes = "Eyx";
  options.swap_axes = false;
  EXPECT_EQ(open_spectrum_image(path("a.emd"), options).together(), (Sizes{3, 500, 8}));
}

// A file of 28 GB in which but a few chunks were ever written takes what its part takes.
TEST_F(PartsTest, OfAFileThatIsLargerThanMemory) {
  const auto check = [&](const std::string& file, int64_t channels) {
    const ImageToRead opened = open_spectrum_image(file);
    EXPECT_EQ(opened.image.energy.size, channels);
    CountArray counts;
    EXPECT_TRUE(opened.read({{2000, 2008}, {1000, 1008}, {600, 632}}, counts));
    ASSERT_EQ(counts.size(), 8u * 8 * 32);
    EXPECT_EQ(counts[0], 7);
    EXPECT_EQ(counts.back(), 0);
  };
  {
    Hdf5Writer writer(path("a.emd"));
    const Handle data = writer.empty_dataset("g/data", {2048, 2048, 1700},
                                             {.type = H5T_IEEE_F32LE, .chunk = {8, 8, 200}, .deflate = true});
    writer.attribute("g", "emd_group_type", 1);
    const hsize_t start[] = {2000, 1000, 600}, count[] = {4, 4, 4};
    const std::vector<float> sevens(64, 7);
    const Handle file_space(H5Dget_space(data), H5Sclose);
    H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, nullptr, count, nullptr);
    const Handle memory_space(H5Screate_simple(3, count, nullptr), H5Sclose);
    ASSERT_GE(H5Dwrite(data, H5T_NATIVE_FLOAT, memory_space, file_space, H5P_DEFAULT, sevens.data()), 0);
  }
  check(path("a.emd"), 1700);

  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2048, 2048, 1700), }";
  header.resize(117, ' ');
  write_bytes(path("a.npy"), std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header + "\n");
  fs::resize_file(path("a.npy"), 128 + uint64_t{2048} * 2048 * 1700 * 4);
  {
    std::fstream file(path("a.npy"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(128 + ((int64_t{2000} * 2048 + 1000) * 1700 + 600) * 4);
    const float seven = 7;
    file.write(reinterpret_cast<const char*>(&seven), sizeof seven);
  }
  check(path("a.npy"), 1700);
}

}  // namespace
}  // namespace eelsvae
