#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/containers/chunk_codec.h"
#include "io/containers/hdf5_library.h"
#include "io/containers/hdf5_messages.h"

namespace eelsvae::hdf5 {

// A dataset whose numbers are read, box by box.
class Dataset {
 public:
  // UserError if its numbers cannot be read by any of the ways of StoredDataset.
  Dataset(hid_t file, const std::string& path, const std::string& context);

  const StoredDataset& description() const { return description_; }
  // Memory that HDF5 may need for a box.
  uint64_t box_bytes() const;

  // The bytes of a box, as description() says; they last until the next call. Empty if they were never
  // written.
  std::span<const std::byte> load(int64_t index, uint32_t& skipped);

 private:
  void describe_chunks();
  std::span<const std::byte> load_chunk(int64_t index, uint32_t& skipped);
  std::span<const std::byte> load_block(int64_t index);

  std::string context_;
  Handle data_, type_, properties_;
  uint64_t file_bytes_ = 0;
  StoredDataset description_;
  bool converted_ = false;      // blocks: to float32
  std::string missing_filter_;  // what to say if it turns out to be needed
  ByteBuffer buffer_;
};

// Lets HDF5 read LZF, too.
void register_lzf();

}  // namespace eelsvae::hdf5
