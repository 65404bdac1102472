#pragma once

// Internal to io/: what calls the HDF5 library, which is what writes files, and the program that reads them
// (io/reader). The HDF5 headers are not visible outside.

// Later HDF5 versions then offer the functions by the names they have in 1.10.
#define H5_USE_110_API
#include <hdf5.h>

#include <string>
#include <utility>

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

}  // namespace eelsvae::hdf5
