#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace eelsvae {

// A whole regular file as read-only memory; the kernel brings in the pages that are touched.
class MappedFile {
 public:
  // UserError "cannot read PATH: reason" if it is missing, a folder, not a regular file or not readable.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  const std::byte* data() const { return data_; }  // null if the file is empty
  size_t size() const { return size_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // Lets go of the pages that lie wholly between two places of the file, so that what has been read does not
  // count as this process's memory. They come back if they are touched again.
  void release(const std::byte* begin, const std::byte* end) const;

 private:
  std::string path_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace eelsvae
