#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/files/mapped_file.h"
#include "io/files/stored_array.h"

struct zip;

namespace eelsvae {

// What the directory of an archive says about a member; none of it is certain before the member was read.
struct ZipMember {
  std::string name;  // as stored; names nothing outside the archive
  uint64_t index = 0;
  uint64_t size = 0;         // bytes, unpacked
  uint64_t packed_size = 0;  // bytes in the archive
  uint32_t crc = 0;
  uint16_t method = 0;  // 0: stored as it is, 8: deflated
  bool encrypted = false;
};

// Whether the checksum of a stored member says anything of its content.
enum class Checksum { compared, ignored };

// A zip archive, read through libzip. Errors are UserErrors that begin with the archive's path.
class ZipArchive {
 public:
  // UserError if the file is no archive, is cut off, or has two members of the same name.
  explicit ZipArchive(std::shared_ptr<const MappedFile> file);
  ~ZipArchive();
  ZipArchive(const ZipArchive&) = delete;
  ZipArchive& operator=(const ZipArchive&) = delete;

  const MappedFile& file() const { return *file_; }
  const std::vector<ZipMember>& members() const { return members_; }
  const ZipMember* find(std::string_view name) const;  // null if there is none
  std::string context(const ZipMember& member) const;  // "a.npz: member 'X.npy'"

  // A whole member and its checksum. UserError if it has more than `limit` bytes.
  std::vector<std::byte> read(const ZipMember& member, size_t limit) const;

  // Its first bytes, `limit` or all that there are.
  std::vector<std::byte> read_start(const ZipMember& member, size_t limit) const;

 private:
  friend class ZipStream;
  friend std::shared_ptr<const ImageValues> zip_values(const std::shared_ptr<const ZipArchive>& archive,
                                                       const ZipMember& member, uint64_t offset,
                                                       StoredArray array, Checksum checksum,
                                                       int64_t block_bytes);

  // Where libzip stands in the file; it reads a stored member's bytes from their very place.
  struct Source;

  uint64_t stored_offset(const ZipMember& member) const;

  std::shared_ptr<const MappedFile> file_;
  std::unique_ptr<Source> source_;
  zip* archive_ = nullptr;
  std::vector<ZipMember> members_;
};

// The numbers of an array that begins `offset` bytes into a member; without gaps (StoredArray::dense) and
// ending with the member. Numbers of a stored member are read from their place in the file, those of a
// deflated one pass through a buffer of `block_bytes`: by default some 16 energy planes of a large image.
// Reading checks the member's checksum, unless that of a stored one is to be ignored. UserError if the member
// cannot be as long as the directory says.
std::shared_ptr<const ImageValues> zip_values(const std::shared_ptr<const ZipArchive>& archive,
                                              const ZipMember& member, uint64_t offset, StoredArray array,
                                              Checksum checksum = Checksum::compared,
                                              int64_t block_bytes = int64_t{64} << 20);

// The name of an archive's first member, from the archive's first bytes; "" if they are no archive's.
std::string_view first_zip_member(std::string_view start);

}  // namespace eelsvae
