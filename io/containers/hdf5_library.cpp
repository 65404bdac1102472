#include "io/containers/hdf5_library.h"

#include <algorithm>
#include <cstdio>

#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae::hdf5 {
namespace {

herr_t innermost(unsigned position, const H5E_error2_t* error, void* text) {
  if (position == 0 && error->desc) *static_cast<std::string*>(text) = error->desc;
  return 0;
}

// What HDF5 found wrong first. A failing system call hides between quotes in a long line of addresses.
std::string reason() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, &text);
  unsigned long long present = 0, whole = 0;
  if (std::sscanf(text.c_str(), "truncated file: eof = %llu, sblock->base_addr = %*u, stored_eof = %llu",
                  &present, &whole) == 2)
    return "cut off: the file should have " + std::to_string(whole) + " bytes, " + std::to_string(present) +
           " are there";
  const std::string quoted = "error message = '";
  if (const size_t begin = text.find(quoted); begin != std::string::npos) {
    text.erase(0, begin + quoted.size());
    text.erase(std::min(text.find('\''), text.size()));
  }
  if (text.starts_with("bad version number"))
    text +=
        ", of a later HDF5 than is read here, or damaged; write it with h5py.File(..., libver=('earliest', "
        "'v110'))";
  return text.empty() ? "HDF5 gave no reason" : one_line(text);
}

}  // namespace

Silence::Silence() {
  H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Silence::~Silence() {
  H5Eset_auto2(H5E_DEFAULT, function_, data_);
}

void fail(const std::string& context) {
  const std::string text = reason();
  throw UserError(context + ": " + text);
}

}  // namespace eelsvae::hdf5
