#include "io/formats/other_hdf5.h"

#include "io/containers/hdf5.h"
#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

std::vector<StoredImage> refuse(const std::string& path) {
  const std::vector<std::string> names = hdf5::members(hdf5::open_file(path), path);
  std::string found;
  for (size_t i = 0; i < names.size() && i < 6; ++i)
    found += (i ? ", '" : "'") + one_line(names[i].substr(0, 40)) + "'";
  throw UserError(path +
                  ": an HDF5 file, but not of HyperSpy, Velox, NCEM, Nion Swift or Gatan; at its top " +
                  (names.empty() ? "it holds nothing"
                                 : "are " + found + (names.size() > 6 ? ", ..." : "") +
                                       "; save its array as .npz with data and energy"));
}

bool recognises(const std::string&, std::string_view start) {
  return hdf5::has_signature(start);
}

}  // namespace

const ImageFormat other_hdf5_format = {"HDF5", "", recognises, refuse};

}  // namespace eelsvae
