#pragma once

// Internal to io/: what readers and writers of HDF5 files share. The HDF5 headers are not visible outside.

// Later HDF5 versions then offer the functions by the names they have in 1.10.
#define H5_USE_110_API
#include <hdf5.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/files/stored_array.h"

namespace eelsvae::hdf5 {

// Owns an HDF5 identifier.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  operator hid_t() const { return id_; }
  hid_t release() { return std::exchange(id_, -1); }

 private:
  hid_t id_;
  Close close_;
};

// Throws UserError "context: reason" with the innermost reason on HDF5's error stack, as one line.
[[noreturn]] void fail(const std::string& context);

// Passes a result on, or fails if it is negative. Takes HDF5's herr_t, htri_t, hid_t and counts.
template <class T>
T check(T result, const std::string& context) {
  if (result < 0) fail(context);
  return result;
}

// `context` of the functions below is the beginning of their messages: the file, and the object if it helps.

// Keeps HDF5 from printing its errors in this thread, and lets it go on as it did before at the end: the same
// library may serve somebody else in this process.
class Silence {
 public:
  Silence();
  ~Silence();
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

// An open file, and silence while it is.
class File {
 public:
  File(const std::string& path, const std::string& context);  // for reading
  operator hid_t() const { return handle_; }

 private:
  Silence silence_;
  Handle handle_;
};

// Whether a file whose first bytes are `start` is HDF5. The signature stands at its start or behind a block
// of the user's own of 512, 1024, ... bytes.
bool has_signature(std::string_view start);

File open_file(const std::string& path);  // for reading
Handle open_group(hid_t parent, const std::string& name, const std::string& context);
Handle open_dataset(hid_t parent, const std::string& name, const std::string& context);
bool has_group(hid_t parent, const std::string& name, const std::string& context);
bool has_dataset(hid_t parent, const std::string& name, const std::string& context);

// Names of the members that are hard links, sorted.
std::vector<std::string> members(hid_t group, const std::string& context);

// A number, boolean, string or one-dimensional array of them; null if there is no such attribute or it is of
// another kind or larger than 4096 elements.
nlohmann::json attribute(hid_t object, const std::string& name, const std::string& context);

// A dataset in place of an attribute.
nlohmann::json small_dataset(hid_t parent, const std::string& name, const std::string& context);

// The first column of a dataset (n, m) of bytes, or a dataset (n), as text up to its first zero. UserError if
// it is not of bytes or longer than 16 MiB.
std::string byte_column(hid_t parent, const std::string& name, const std::string& context);

// The attributes, small datasets and groups below a group as a JSON object; what attribute() has no value for
// is left out. Members named in `skip` are left out at every level. UserError if groups nest deeper than 32
// or there are more than 100,000 entries.
nlohmann::json group_as_json(hid_t group, const std::vector<std::string>& skip, const std::string& context);

std::vector<int64_t> dataset_shape(hid_t dataset, const std::string& context);
std::string dataset_dtype(hid_t dataset,
                          const std::string& context);  // "int16"; "compound", ... if not a number

// The numbers of a dataset whose axis order[i] is the image's axis i, read when they are asked for. Null if
// they are not integers or floats. `dataset` is its path in the file.
std::shared_ptr<const ImageValues> dataset_values(hid_t file, const std::string& path,
                                                  const std::string& dataset, std::vector<size_t> order,
                                                  const std::string& context);

}  // namespace eelsvae::hdf5
