#include "io/containers/hdf5.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>
#include <thread>

#include "io/containers/chunk_codec.h"
#include "io/formats/hspy.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/io/containers/hdf5_writer.h"
#include "tests/io/parts.h"

namespace eelsvae {
namespace {

using hdf5::Handle;

// Fits every type of number.
double value(int64_t i) {
  return static_cast<double>(i * 7919 % 113);
}

struct Read {
  CountArray values;
  bool finite;
};

// Reads dataset /d with its axis order[i] as axis i, and parts of it alone.
Read read_dataset(const std::string& path, const std::vector<int64_t>& shape,
                  const std::vector<size_t>& order, bool parts = false) {
  const auto values = hdf5::dataset_values(hdf5::open_file(path), "d", order, path);
  std::vector<int64_t> displayed;
  for (const size_t axis : order) displayed.push_back(shape[axis]);
  Read result{CountArray(static_cast<size_t>(element_count(shape, 1)), -1), false};
  result.finite = values->read(whole_of(displayed), dense_strides(displayed), result.values.data());
  if (parts) expect_parts(*values, displayed, result.values.data());
  return result;
}

// What read_dataset should find where the i-th element in C order is expected(i).
CountArray displayed(const std::vector<int64_t>& shape, const std::vector<size_t>& order,
                     const std::function<double(int64_t)>& expected) {
  std::vector<int64_t> sizes;
  for (const size_t axis : order) sizes.push_back(shape[axis]);
  const std::vector<int64_t> stride = dense_strides(shape), to = dense_strides(sizes);
  CountArray values(static_cast<size_t>(element_count(shape, 1)));
  for (int64_t i = 0; i < static_cast<int64_t>(values.size()); ++i) {
    int64_t place = 0;
    for (size_t d = 0; d < order.size(); ++d) place += i / stride[order[d]] % sizes[d] * to[d];
    values[static_cast<size_t>(place)] = static_cast<float>(expected(i));
  }
  return values;
}

class Hdf5Test : public FileTest {
 protected:
  const std::vector<int64_t> shape_ = {5, 7, 300};
  const Hdf5Storage packed_ = {.chunk = {2, 3, 256}, .shuffle = true, .deflate = true};
};

// The library may serve somebody else in the same process.
TEST_F(Hdf5Test, LeavesTheErrorHandlerAsItWas) {
  H5E_auto2_t before = nullptr, after = nullptr;
  void *data_before = nullptr, *data_after = nullptr;
  ASSERT_GE(H5Eget_auto2(H5E_DEFAULT, &before, &data_before), 0);
  ASSERT_NE(before, nullptr) << "HDF5 prints its errors unless it is told otherwise";
  const float map[] = {1, 2, 3, 4, 5, 6};
  write_hspy_map(path("a.hspy"), "", Axis{"y", "", 0, 1, 2}, Axis{"x", "", 0, 1, 3}, map, "{}");
  EXPECT_EQ(list_images(path("a.hspy")).size(), 1u);
  ASSERT_GE(H5Eget_auto2(H5E_DEFAULT, &after, &data_after), 0);
  EXPECT_EQ(after, before);
  EXPECT_EQ(data_after, data_before);
}

TEST_F(Hdf5Test, EveryTypeLayoutAndOrder) {
  const Handle half(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  H5Tset_fields(half, 15, 10, 5, 0, 10);
  H5Tset_size(half, 2);
  H5Tset_ebias(half, 15);
  const Handle big_half(H5Tcopy(half), H5Tclose);
  H5Tset_order(big_half, H5T_ORDER_BE);
  const Handle bits12(H5Tcopy(H5T_STD_I16LE), H5Tclose);  // what HDF5 itself has to convert
  H5Tset_precision(bits12, 12);
  const hid_t types[] = {H5T_STD_I8LE,   H5T_STD_U8LE,   H5T_STD_I16LE, H5T_STD_U16BE,  H5T_STD_I32BE,
                         H5T_STD_U32LE,  H5T_STD_I64LE,  H5T_STD_U64BE, H5T_IEEE_F32LE, H5T_IEEE_F32BE,
                         H5T_IEEE_F64LE, H5T_IEEE_F64BE, half,          big_half,       bits12};
  const std::vector<hsize_t> large = {2, 3, 256}, small = {1, 2, 7};
  const Hdf5Storage layouts[] = {
      {},
      {.chunk = large},
      {.chunk = small},
      {.chunk = large, .deflate = true},
      {.chunk = large, .shuffle = true},
      {.chunk = large, .shuffle = true, .deflate = true},
      {.chunk = large, .shuffle = true, .deflate = true, .fletcher = true},
      {.chunk = {5, 7, 300}, .shuffle = true, .deflate = true},
  };
  for (const hid_t type : types) {
    for (Hdf5Storage storage : layouts) {
      storage.type = type;
      { Hdf5Writer(path("a.h5")).dataset("d", shape_, storage, value); }
      const hdf5::Object kept_open = hdf5::open_file(path("a.h5"));
      for (const std::vector<size_t>& order : {std::vector<size_t>{0, 1, 2}, {2, 0, 1}, {1, 2, 0}}) {
        const Read read = read_dataset(path("a.h5"), shape_, order, type == H5T_STD_I16LE || type == bits12);
        ASSERT_TRUE(read.finite);
        ASSERT_EQ(read.values, displayed(shape_, order, value))
            << H5Tget_size(type) << " bytes, layout " << &storage - &storage << ", order " << order[0];
      }
    }
  }
}

TEST_F(Hdf5Test, CompactAndOneDimensional) {
  { Hdf5Writer(path("a.h5")).dataset("d", {200}, {.type = H5T_STD_I32BE, .compact = true}, value); }
  EXPECT_EQ(read_dataset(path("a.h5"), {200}, {0}).values, displayed({200}, {0}, value));
}

TEST_F(Hdf5Test, BehindAUserBlock) {
  for (const Hdf5Storage& storage : {Hdf5Storage{}, packed_}) {
    { Hdf5Writer(path("a.h5"), 1024).dataset("d", shape_, storage, value); }
    EXPECT_EQ(read_dataset(path("a.h5"), shape_, {0, 1, 2}).values, displayed(shape_, {0, 1, 2}, value));
  }
}

// Chunks that were never written stand for the fill value, whole datasets too.
TEST_F(Hdf5Test, FillValues) {
  for (const double fill : {0.0, 3.5}) {
    for (Hdf5Storage storage : {Hdf5Storage{}, packed_, Hdf5Storage{.chunk = {1, 2, 7}}}) {
      storage.fill = fill;
      {
        Hdf5Writer writer(path("a.h5"));
        const Handle data = writer.empty_dataset("d", shape_, storage);
      }
      EXPECT_EQ(read_dataset(path("a.h5"), shape_, {1, 2, 0}, true).values,
                CountArray(5 * 7 * 300, static_cast<float>(fill)));
    }
    Hdf5Storage storage = packed_;
    storage.fill = fill;
    {
      Hdf5Writer writer(path("a.h5"));
      const Handle data = writer.empty_dataset("d", shape_, storage);
      const hsize_t start[] = {2, 3, 0}, count[] = {2, 3, 256};  // one chunk
      const std::vector<float> sevens(2 * 3 * 256, 7);
      const Handle file_space(H5Dget_space(data), H5Sclose);
      H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, nullptr, count, nullptr);
      const Handle memory_space(H5Screate_simple(3, count, nullptr), H5Sclose);
      ASSERT_GE(H5Dwrite(data, H5T_NATIVE_FLOAT, memory_space, file_space, H5P_DEFAULT, sevens.data()), 0);
    }
    const auto expected = [&](int64_t i) {
      const int64_t y = i / 2100, x = i / 300 % 7, e = i % 300;
      return y >= 2 && y < 4 && x >= 3 && x < 6 && e < 256 ? 7 : fill;
    };
    EXPECT_EQ(read_dataset(path("a.h5"), shape_, {2, 0, 1}, true).values,
              displayed(shape_, {2, 0, 1}, expected));
  }
  Hdf5Storage storage = packed_;
  storage.fill = std::numeric_limits<double>::quiet_NaN();
  {
    Hdf5Writer writer(path("a.h5"));
    const Handle data = writer.empty_dataset("d", shape_, storage);
  }
  EXPECT_FALSE(read_dataset(path("a.h5"), shape_, {0, 1, 2}).finite);
}

// A writer may leave out filters for single chunks.
TEST_F(Hdf5Test, ChunksWithoutTheFilters) {
  const std::vector<int64_t> shape = {2, 4, 1024};
  {
    Hdf5Writer writer(path("a.h5"));
    const Handle data =
        writer.empty_dataset("d", shape, {.chunk = {1, 4, 1024}, .shuffle = true, .deflate = true});
    std::vector<float> numbers(4 * 1024);
    for (hsize_t y = 0; y < 2; ++y) {
      for (size_t i = 0; i < numbers.size(); ++i)
        numbers[i] = static_cast<float>(value(static_cast<int64_t>(y * numbers.size() + i)));
      const hsize_t start[] = {y, 0, 0};
      ASSERT_GE(H5Dwrite_chunk(data, H5P_DEFAULT, 3, start, numbers.size() * sizeof(float), numbers.data()),
                0);
    }
  }
  EXPECT_EQ(read_dataset(path("a.h5"), shape, {0, 1, 2}, true).values, displayed(shape, {0, 1, 2}, value));
}

TEST_F(Hdf5Test, FindsWhatIsNotFinite) {
  for (const Hdf5Storage& storage : {Hdf5Storage{}, packed_, Hdf5Storage{.chunk = {1, 2, 7}}}) {
    {
      Hdf5Writer(path("a.h5")).dataset("d", shape_, storage, [](int64_t i) {
        return i == 5000 ? std::numeric_limits<double>::infinity() : value(i);
      });
    }
    EXPECT_FALSE(read_dataset(path("a.h5"), shape_, {0, 1, 2}).finite);
  }
}

TEST_F(Hdf5Test, SaysWhichChunkIsDamaged) {
  haddr_t place = 0;
  hsize_t size = 0;
  {
    Hdf5Writer writer(path("a.h5"));
    writer.dataset("d", shape_, packed_, value);
    const Handle data(H5Dopen2(writer.file(), "d", H5P_DEFAULT), H5Dclose);
    const hsize_t start[] = {2, 3, 256};
    unsigned mask;
    H5Fflush(writer.file(), H5F_SCOPE_LOCAL);
    ASSERT_GE(H5Dget_chunk_info_by_coord(data, start, &mask, &place, &size), 0);
  }
  std::string bytes = read_bytes(path("a.h5"));
  ASSERT_GT(size, 40u);
  for (size_t i = 20; i < 40; ++i) bytes[place + i] = static_cast<char>(~bytes[place + i]);
  write_bytes(path("a.h5"), bytes);
  EXPECT_EQ(user_error([&] {
              read_dataset(path("a.h5"), shape_, {0, 1, 2});
            }),
            path("a.h5") + ": the chunk of the data that begins at (2, 3, 256) is damaged");
  // Who needs nothing of it does not see it.
  const auto values = hdf5::dataset_values(hdf5::open_file(path("a.h5")), "d", {0, 1, 2}, path("a.h5"));
  std::vector<float> out(5 * 7 * 256);
  EXPECT_TRUE(
      values->read({{0, 0, 0}, {5, 7, 256}}, dense_strides(std::vector<int64_t>{5, 7, 256}), out.data()));
  EXPECT_EQ(out.back(), static_cast<float>(value(4 * 2100 + 6 * 300 + 255)));
}

// What the filter left alone needs no filter.
TEST_F(Hdf5Test, FiltersThatAreNotInstalledAreNamed) {
  const std::vector<int64_t> shape = {2, 4, 1024};
  for (const auto& [filter, name] :
       {std::pair{32008, "bitshuffle (HDF5 filter 32008)"}, {299, "HDF5 filter 299"}}) {
    const Hdf5Storage storage = {.chunk = {1, 4, 1024}, .optional_filter = filter};
    for (const bool filtered : {false, true}) {
      {
        Hdf5Writer writer(path("a.h5"));
        writer.dataset("d", shape, storage, value);
        const Handle data(H5Dopen2(writer.file(), "d", H5P_DEFAULT), H5Dclose);
        const hsize_t start[] = {1, 0, 0};
        if (filtered) {
          ASSERT_GE(H5Dwrite_chunk(data, H5P_DEFAULT, 0, start, 7, "packed"), 0);
        }
      }
      Read read;
      const std::string error = user_error([&] { read = read_dataset(path("a.h5"), shape, {0, 1, 2}); });
      if (filtered) {
        EXPECT_EQ(error,
                  path("a.h5") + ": is compressed with " + name +
                      ", which eelsvae does not read; rewrite it with h5repack -f GZIP=4 IN OUT where that "
                      "filter is installed");
      } else {
        EXPECT_EQ(read.values, displayed(shape, {0, 1, 2}, value)) << error;
      }
    }
  }
}

// Of the packers that are read nobody is told that they are not.
TEST_F(Hdf5Test, FiltersTogetherAreNamed) {
  const Hdf5Storage storage = {.chunk = {1, 4, 1024}, .deflate = true, .optional_filter = 32015};
  {
    Hdf5Writer writer(path("a.h5"));
    writer.dataset("d", {2, 4, 1024}, storage, value);
    const Handle data(H5Dopen2(writer.file(), "d", H5P_DEFAULT), H5Dclose);
    const hsize_t start[] = {1, 0, 0};
    ASSERT_GE(H5Dwrite_chunk(data, H5P_DEFAULT, 0, start, 7, "packed"), 0);
  }
  EXPECT_EQ(user_error([&] {
              read_dataset(path("a.h5"), {2, 4, 1024}, {0, 1, 2});
            }),
            path("a.h5") +
                ": is compressed with zstd (HDF5 filter 32015) beside other filters, which together eelsvae "
                "does not "
                "read; rewrite it with h5repack -f GZIP=4 IN OUT where that filter is installed");
}

TEST_F(Hdf5Test, AChecksumBehindPackedChunks) {
  const std::vector<int64_t> shape = {3, 5, 700};
  const Hdf5Storage storage = {.chunk = {2, 5, 500}, .shuffle = true, .deflate = true, .fletcher = true};
  {
    Hdf5Writer writer(path("a.h5"));
    writer.dataset("d", shape, storage, value);
  }
  EXPECT_EQ(read_dataset(path("a.h5"), shape, {0, 1, 2}).values, displayed(shape, {0, 1, 2}, value));
  haddr_t place = 0;
  hsize_t size = 0;
  {
    const Handle file(H5Fopen(path("a.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
    const Handle data(H5Dopen2(file, "d", H5P_DEFAULT), H5Dclose);
    const hsize_t start[] = {0, 0, 500};
    ASSERT_GE(H5Dget_chunk_info_by_coord(data, start, nullptr, &place, &size), 0);
  }
  const std::string whole = read_bytes(path("a.h5"));
  const auto end = static_cast<size_t>(place + size);
  // As HDF5 1.6.2 wrote the sum.
  std::string old = whole;
  std::swap(old[end - 4], old[end - 3]);
  std::swap(old[end - 2], old[end - 1]);
  ASSERT_NE(old, whole);
  write_bytes(path("b.h5"), old);
  EXPECT_EQ(read_dataset(path("b.h5"), shape, {0, 1, 2}).values, displayed(shape, {0, 1, 2}, value));
  // A flipped bit of what is packed, or of the sum itself.
  for (const size_t from_end : {100, 1}) {
    std::string bytes = whole;
    bytes[end - from_end] ^= 1;
    write_bytes(path("b.h5"), bytes);
    EXPECT_NE(user_error([&] {
                read_dataset(path("b.h5"), shape, {0, 1, 2});
              }).find("is damaged"),
              std::string::npos);
  }
}

// HDF5 itself takes what is missing for fill values.
TEST_F(Hdf5Test, PartsInOtherFiles) {
  const std::vector<int64_t> shape = {2, 3, 40};
  { Hdf5Writer(path("part.h5")).dataset("d", shape, {}, value); }
  {
    Hdf5Writer writer(path("a.h5"));
    const hsize_t sizes[] = {2, 3, 40};
    const Handle space(H5Screate_simple(3, sizes, nullptr), H5Sclose);
    const Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    ASSERT_GE(H5Pset_virtual(properties, space, "part.h5", "d", space), 0);
    const Handle data(
        H5Dcreate2(writer.file(), "d", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT),
        H5Dclose);
    ASSERT_GE(data, 0);
  }
  EXPECT_EQ(read_dataset(path("a.h5"), shape, {0, 1, 2}).values, displayed(shape, {0, 1, 2}, value));
  std::filesystem::remove(path("part.h5"));
  EXPECT_EQ(user_error([&] {
              read_dataset(path("a.h5"), shape, {0, 1, 2});
            }),
            path("a.h5") + ": a part of the data is in the file part.h5, which is missing");
}

// h5py wrote them, in chunks that are unpacked here and in ones that are so small that HDF5 unpacks many at
// once.
TEST_F(Hdf5Test, Lzf) {
  for (const int64_t dataset : {0, 1}) {
    const SpectrumImage image = read_spectrum_image(fixture("hspy/lzf.hspy"), {.dataset = dataset});
    ASSERT_EQ(image.counts.size(), 8u * 8 * 64);
    for (size_t i = 0; i < image.counts.size(); ++i)
      ASSERT_EQ(image.counts[i], static_cast<float>(100 * (i / 512) + 10 * (i / 64 % 8) + i % 64)) << i;
  }
}

TEST_F(Hdf5Test, LzfTakesNothingDamaged) {
  const auto unpack = [](const std::string& packed, size_t size) {
    std::string out(size, '?');
    const bool whole = unpack_lzf(std::as_bytes(std::span(packed)), std::as_writable_bytes(std::span(out)));
    return whole ? out : "damaged";
  };
  const std::string literal("\2abc", 4), repeated("\x20\2", 2), long_one("\xe0\1\0", 3);
  EXPECT_EQ(unpack(literal, 3), "abc");
  EXPECT_EQ(unpack(literal + repeated, 6), "abcabc");
  EXPECT_EQ(unpack(literal + long_one, 13), "abc" + std::string(10, 'c'));  // overlaps itself
  EXPECT_EQ(unpack(literal, 4), "damaged");
  EXPECT_EQ(unpack(literal, 2), "damaged");
  EXPECT_EQ(unpack(literal.substr(0, 3), 3), "damaged");
  EXPECT_EQ(unpack(repeated, 3), "damaged");  // of what was before
  EXPECT_EQ(unpack(literal + repeated.substr(0, 1), 6), "damaged");
  EXPECT_EQ(unpack(literal + long_one.substr(0, 2), 13), "damaged");
}

// HDF5 1.10 crashes on the first, and does not come to an end with the second; whatever another version does,
// this process goes on.
TEST_F(Hdf5Test, FilesThatTakeTheLibraryDown) {
  for (const char* name : {"crash", "endless"}) {
    const std::string file = fixture(std::string("hspy/damaged_") + name + ".hspy");
    const std::string error = user_error([&] { read_spectrum_image(file); });
    EXPECT_NE(error.find(file), std::string::npos) << error;
  }
}

// Ends every process that reads for this one, as the HDF5 library ends one on a damaged file.
void end_reading_processes() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "stat");
    std::string text, rest;
    std::getline(file, text);
    const size_t name = text.find('('), end = text.rfind(')');
    if (name == std::string::npos || text.compare(name, 14, "(eelsvae-hdf5-") != 0) continue;
    char state = 0;
    pid_t parent = 0;
    std::istringstream(text.substr(end + 1)) >> state >> parent;
    if (parent == getpid()) kill(std::stoi(entry.path().filename()), SIGABRT);
  }
}

TEST_F(Hdf5Test, WhatEndsTheProcessHidesNothingElse) {
  Hdf5Writer(path("a.h5")).dataset("d", shape_, packed_, value);
  const hdf5::Object file = hdf5::open_file(path("a.h5"));
  const auto values = hdf5::dataset_values(file, "d", {0, 1, 2}, path("a.h5"));
  CountArray out(5 * 7 * 300);
  const auto read = [&] {
    out.assign(out.size(), 0);
    return user_error([&] { values->read(whole_of(shape_), dense_strides(shape_), out.data()); });
  };
  EXPECT_EQ(read(), "");
  for (int round = 0; round < 2; ++round) {
    end_reading_processes();
    EXPECT_EQ(read(), path("a.h5") + ": damaged: the HDF5 library crashes on it (signal 6)") << round;
    EXPECT_EQ(read(), "") << round;
    EXPECT_EQ(out[300], static_cast<float>(value(300))) << round;
  }
  end_reading_processes();
  EXPECT_NE(read(), "");
  EXPECT_NE(read(), "") << "without an end";
}

TEST_F(Hdf5Test, WithoutTheProgramThatReads) {
  { Hdf5Writer(path("a.h5")).dataset("d", {4}, {}, value); }
  const auto error_with = [&](const char* program) {
    setenv("EELSVAE_HDF5_HELPER", program, 1);
    const std::string error = user_error([&] { hdf5::open_file(path("a.h5")); });
    unsetenv("EELSVAE_HDF5_HELPER");
    return error;
  };
  EXPECT_EQ(error_with("/nowhere/reader"),
            "cannot read " + path("a.h5") + ": cannot start /nowhere/reader: No such file or directory");
  EXPECT_EQ(error_with("/bin/false"), "cannot read " + path("a.h5") + ": /bin/false ended with status 1");
  EXPECT_EQ(error_with(""), "");
}

TEST_F(Hdf5Test, NothingWaitsForTheWriterOfAPipe) {
  ASSERT_EQ(mkfifo(path("pipe.h5").c_str(), 0600), 0);
  EXPECT_NE(user_error([&] { list_images(path("pipe.h5")); }), "");
}

TEST_F(Hdf5Test, SharedByThreadsAndOpenedAgainWhenItChanged) {
  const auto write = [&](double first) {
    Hdf5Writer(path("a.h5")).dataset("d", shape_, packed_, [=](int64_t i) { return first + value(i); });
  };
  write(0);
  const hdf5::Object file = hdf5::open_file(path("a.h5"));
  EXPECT_EQ(&file.process(), &hdf5::open_file(path("a.h5")).process());
  const auto values = hdf5::dataset_values(file, "d", {0, 1, 2}, path("a.h5"));
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 5; ++k)
        EXPECT_EQ(read_dataset(path("a.h5"), shape_, {0, 1, 2}).values, displayed(shape_, {0, 1, 2}, value));
    });
  }
  for (std::thread& thread : threads) thread.join();

  std::filesystem::remove(path("a.h5"));
  write(1);
  EXPECT_NE(&file.process(), &hdf5::open_file(path("a.h5")).process());
  EXPECT_EQ(read_dataset(path("a.h5"), shape_, {0, 1, 2}).values[0], 1 + value(0));
  CountArray out(5 * 7 * 300);
  EXPECT_EQ(user_error([&] { values->read(whole_of(shape_), dense_strides(shape_), out.data()); }),
            path("a.h5") + ": the file was changed while it was read");
}

TEST_F(Hdf5Test, FilesOfOtherProgramsAreNamed) {
  {
    Hdf5Writer writer(path("a.h5"));
    writer.group("entry/instrument");
    writer.dataset("values", {1, 2, 3});
  }
  EXPECT_EQ(user_error([&] { list_images(path("a.h5")); }),
            path("a.h5") +
                ": an HDF5 file, but not of HyperSpy, Velox, NCEM, Nion Swift or Gatan; at its top are "
                "'entry', 'values'; save its array as .npz with data and energy");
  { const Hdf5Writer writer(path("b.h5")); }
  EXPECT_EQ(user_error([&] { list_images(path("b.h5")); }),
            path("b.h5") +
                ": an HDF5 file, but not of HyperSpy, Velox, NCEM, Nion Swift or Gatan; at its top it holds "
                "nothing");
}

}  // namespace
}  // namespace eelsvae
