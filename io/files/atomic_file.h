#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace eelsvae {

// A file that is either complete or not there: bytes go to a temporary file beside the target, and commit()
// puts it in the target's place. Without commit() the destructor removes the temporary and leaves an existing
// target as it was. Every failing call throws UserError "cannot write TARGET: reason".
class AtomicFile {
 public:
  // The target must be a regular file or not exist; a symbolic link is followed.
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* bytes, size_t size);

  // Writes what is buffered, waits until the disk has it, and renames.
  void commit();

 private:
  void write_through(const char* bytes, size_t size);
  void flush();
  [[noreturn]] void fail(int error) const;

  std::string path_;         // as the user named it, for messages
  std::string target_path_;  // links resolved
  std::string temporary_path_;
  int descriptor_ = -1;
  std::vector<char> buffer_;
};

// Replaces the file's content by `text`, all or nothing.
void write_file(const std::string& path, const std::string& text);

// The whole file; UserError "cannot read PATH: reason".
std::string read_text_file(const std::string& path);

}  // namespace eelsvae
