#pragma once

// Internal to io/: what readers of HDF5 files and the program that reads for them (io/reader) tell each other
// over a socket, in the byte order of the machine.

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/containers/chunk_codec.h"
#include "io/files/element_type.h"

namespace eelsvae::hdf5 {

// A request is its length as uint64_t and an array in CBOR: what is asked for, then the arguments. Objects
// are named by their paths in the file.

// An answer begins with this.
struct AnswerStart {
  enum Form : uint32_t {
    value,    // then: CBOR
    failure,  // then: the text of a UserError
    box,      // then: a box of a dataset as it is stored; no bytes if it never was
  };
  uint32_t form;
  uint32_t skipped;  // filters that were not applied to the box, a bit for each place in the pipeline
  uint64_t bytes;    // that follow
};

// False if the other side has ended.
bool send_bytes(int socket, const void* bytes, size_t count);
bool receive_bytes(int socket, void* bytes, size_t count);

// How the numbers of a dataset come.
struct StoredDataset {
  enum Way {
    never_written,  // all are `missing`
    contiguous,     // plainly in the file, from byte `offset` on
    chunks,         // in boxes as they are stored, those at the far edges as large as the others
    blocks,         // in boxes that HDF5 unpacks
  };
  Way way = never_written;
  std::vector<int64_t> shape;
  ElementType type = ElementType::float32;
  bool big_endian = false;
  uint64_t offset = 0;
  std::vector<int64_t> box;
  float missing = 0;  // in boxes that were never written
  Compression compression = Compression::none;
  int compression_place = 0;  // in the pipeline
  int shuffle_place = -1;     // -1: not shuffled
  int checksum_place = -1;    // of Fletcher's, which follows the bytes; -1: there is none
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StoredDataset, way, shape, type, big_endian, offset, box, missing,
                                   compression, compression_place, shuffle_place, checksum_place)

}  // namespace eelsvae::hdf5
