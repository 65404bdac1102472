#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/files/mapped_file.h"

namespace eelsvae {

// safetensors files (https://github.com/huggingface/safetensors#format): eight bytes with the length of a
// JSON header, the header, the tensors' bytes. Little-endian, C order.

// Takes the next `size` bytes of a tensor.
using ByteSink = std::function<void(const void* bytes, size_t size)>;

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // "F32", "BF16", "F64", "I64", ...
  std::vector<int64_t> shape;
  // Called once, in the order in which the tensors stand in the file; hands over all bytes in order, in
  // blocks of any size.
  std::function<void(const ByteSink& sink)> produce;
};

// Hands over a file's bytes in order, tensor by tensor, without a copy of them all in memory. Tensors of
// larger elements come first, otherwise in the given order.
void produce_safetensors(const ByteSink& sink, const std::vector<SafetensorsEntry>& entries,
                         const std::map<std::string, std::string>& metadata);

// The same in memory.
std::vector<std::byte> safetensors_content(const std::vector<SafetensorsEntry>& entries,
                                           const std::map<std::string, std::string>& metadata);

// The same into a file, all or nothing (AtomicFile). UserError if it cannot be written.
void write_safetensors(const std::string& path, const std::vector<SafetensorsEntry>& entries,
                       const std::map<std::string, std::string>& metadata);

struct TensorView {
  std::string dtype;
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;  // lives as long as the file object; aligned only if the writer saw to it
  size_t bytes = 0;

  int64_t elements() const;
};

// A file in memory as it lies on disk. The header is checked whole when it is opened: every tensor has a
// known type, as many bytes as its shape says, and its own place inside the file. UserError otherwise.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  // What another program holds of a file, which must outlive this; `name` stands for the path in errors.
  SafetensorsFile(std::span<const std::byte> content, const std::string& name);

  const std::string& path() const { return path_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  std::vector<std::string> names() const;  // in the order of their places in the file
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  const TensorView& tensor(const std::string& name) const;  // UserError if there is none of that name

 private:
  std::string path_;
  std::unique_ptr<const MappedFile> file_;  // null: the content is somebody else's
  std::map<std::string, std::string> metadata_;
  std::map<std::string, TensorView> tensors_;
};

// True if the file begins like a safetensors file, whether or not the rest holds what it promises.
bool looks_like_safetensors(const std::string& path);

}  // namespace eelsvae
