#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "io/containers/hdf5_library.h"
#include "io/files/stored_array.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/io/file_test.h"

namespace eelsvae {

// How a dataset lies in a file that a test makes.
struct Hdf5Storage {
  hid_t type = H5T_IEEE_F32LE;
  std::vector<hsize_t> chunk = {};  // empty: contiguous
  bool compact = false;
  bool shuffle = false;
  bool deflate = false;
  bool fletcher = false;
  H5Z_filter_t optional_filter = 0;  // one more, which may be left out where it is not installed
  double fill = 0;
};

// Makes an HDF5 file, part by part. Groups on the way to an object come into being.
class Hdf5Writer {
 public:
  explicit Hdf5Writer(const std::string& path, hsize_t user_block = 0)
      : links_(H5Pcreate(H5P_LINK_CREATE), H5Pclose), file_(-1, H5Fclose) {
    H5Pset_create_intermediate_group(links_, 1);
    const hdf5::Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
    H5Pset_userblock(creation, user_block);
    file_ = {H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, H5P_DEFAULT), H5Fclose};
    EXPECT_GE(file_, 0);
  }

  hid_t file() const { return file_; }

  void group(const std::string& name) {
    EXPECT_GE(hdf5::Handle(H5Gcreate2(file_, name.c_str(), links_, H5P_DEFAULT, H5P_DEFAULT), H5Gclose), 0);
  }

  hdf5::Handle empty_dataset(const std::string& name, const std::vector<int64_t>& shape,
                             const Hdf5Storage& storage) {
    const std::vector<hsize_t> sizes(shape.begin(), shape.end());
    const hdf5::Handle space(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr),
                             H5Sclose);
    const hdf5::Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    if (storage.compact) H5Pset_layout(properties, H5D_COMPACT);
    if (!storage.chunk.empty())
      H5Pset_chunk(properties, static_cast<int>(storage.chunk.size()), storage.chunk.data());
    if (storage.shuffle) H5Pset_shuffle(properties);
    if (storage.deflate) H5Pset_deflate(properties, 4);
    if (storage.fletcher) H5Pset_fletcher32(properties);
    if (storage.optional_filter)
      H5Pset_filter(properties, storage.optional_filter, H5Z_FLAG_OPTIONAL, 0, nullptr);
    if (storage.fill != 0) H5Pset_fill_value(properties, H5T_NATIVE_DOUBLE, &storage.fill);
    hdf5::Handle data(H5Dcreate2(file_, name.c_str(), storage.type, space, links_, properties, H5P_DEFAULT),
                      H5Dclose);
    EXPECT_GE(data, 0) << name;
    return data;
  }

  // value(i) for the i-th element in C order.
  void dataset(const std::string& name, const std::vector<int64_t>& shape, const Hdf5Storage& storage,
               const std::function<double(int64_t)>& value) {
    const hdf5::Handle data = empty_dataset(name, shape, storage);
    std::vector<double> values(static_cast<size_t>(element_count(shape, sizeof(double))));
    for (size_t i = 0; i < values.size(); ++i) values[i] = value(static_cast<int64_t>(i));
    EXPECT_GE(H5Dwrite(data, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0) << name;
  }
  void dataset(const std::string& name, const std::vector<double>& values) {
    dataset(name, {static_cast<int64_t>(values.size())}, {.type = H5T_IEEE_F64LE},
            [&](int64_t i) { return values[static_cast<size_t>(i)]; });
  }

  // Text as a column of bytes, (length, 1), filled up with zeros.
  void column(const std::string& name, const std::string& text, int64_t length, int64_t columns = 1) {
    dataset(name, {length, columns}, {.type = H5T_STD_U8LE}, [&](int64_t i) {
      const auto row = static_cast<size_t>(i / columns);
      return i % columns == 0 && row < text.size() ? static_cast<unsigned char>(text[row]) : 0;
    });
  }

  // Text as an array of one string.
  void text(const std::string& name, const std::string& value) {
    const hdf5::Handle type = string_type();
    const hsize_t one = 1;
    const hdf5::Handle space(H5Screate_simple(1, &one, nullptr), H5Sclose);
    const hdf5::Handle data(H5Dcreate2(file_, name.c_str(), type, space, links_, H5P_DEFAULT, H5P_DEFAULT),
                            H5Dclose);
    const char* pointer = value.c_str();
    EXPECT_GE(H5Dwrite(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &pointer), 0) << name;
  }

  void attribute(const std::string& object, const std::string& name, const std::string& value) {
    const hdf5::Handle type = string_type();
    const char* pointer = value.c_str();
    attribute(object, name, type, &pointer);
  }
  void attribute(const std::string& object, const std::string& name, int value) {
    attribute(object, name, H5T_NATIVE_INT, &value);
  }

 private:
  hdf5::Silence silence_;
  static hdf5::Handle string_type() {
    hdf5::Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
  }
  void attribute(const std::string& object, const std::string& name, hid_t type, const void* value) {
    const hdf5::Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const hdf5::Handle target(H5Oopen(file_, object.c_str(), H5P_DEFAULT), H5Oclose);
    const hdf5::Handle attribute(H5Acreate2(target, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT),
                                 H5Aclose);
    EXPECT_GE(H5Awrite(attribute, type, value), 0) << name;
  }

  hdf5::Handle links_, file_;
};

// A file that ends too early is refused wherever it ends.
inline void expect_truncations_refused(const std::string& whole, const std::string& part) {
  const std::string bytes = read_bytes(whole);
  for (size_t i = 0; i < 64; ++i) {
    write_bytes(part, bytes.substr(0, bytes.size() * i / 64));
    EXPECT_NE(user_error([&] { read_spectrum_image(part); }), "") << i << " / 64";
  }
}

}  // namespace eelsvae
