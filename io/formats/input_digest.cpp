#include "io/formats/input_digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>

#include "io/files/mapped_file.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

class Sha256 {
 public:
  explicit Sha256(const std::string& path) : path_(path) {
    check(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  }

  void add(const void* bytes, size_t count) { check(EVP_DigestUpdate(context_.get(), bytes, count) == 1); }

  std::string text() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    check(EVP_DigestFinal_ex(context_.get(), digest, &size) == 1);
    std::string text;
    for (unsigned int i = 0; i < size; ++i)
      for (const int digit : {digest[i] >> 4, digest[i] & 15}) text += "0123456789abcdef"[digit];
    return text;
  }

 private:
  void check(bool done) const {
    if (!done) throw UserError(path_ + ": its SHA-256 cannot be computed by this OpenSSL");
  }

  std::string path_;
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

InputFile record_file(const std::string& path, const StopToken& stop) {
  constexpr size_t block = size_t{1} << 22;
  const MappedFile file(path);
  Sha256 sum(path);
  for (size_t at = 0; at < file.size(); at += block) {
    stop.stop_if_requested();
    const size_t count = std::min(block, file.size() - at);
    sum.add(file.data() + at, count);
    file.release(file.data() + at, file.data() + at + count);
  }
  return {path, file.size(), sum.text()};
}

InputFile record_folder(const std::string& path, const StopToken& stop) {
  std::vector<std::string> names;
  // What file managers leave in folders is none of theirs; hidden files of Zarr's own begin with .z.
  const auto counts = [](const std::string& name) {
    return !name.starts_with(".") || name.starts_with(".z");
  };
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file() && counts(entry.path().filename().string()))
      names.push_back(entry.path().lexically_relative(path).string());
  std::sort(names.begin(), names.end());
  InputFile folder{path, 0, ""};
  Sha256 sum(path);
  for (const std::string& name : names) {
    const InputFile file = record_file((fs::path(path) / name).string(), stop);
    folder.bytes += file.bytes;
    const std::string line = file.sha256 + "  " + name + "\n";
    sum.add(line.data(), line.size());
  }
  folder.sha256 = sum.text();
  return folder;
}

}  // namespace

std::vector<InputFile> record_inputs(const std::vector<std::string>& paths, const StopToken& stop) {
  std::vector<InputFile> inputs;
  for (const std::string& path : paths) {
    try {
      inputs.push_back(fs::is_directory(path) ? record_folder(path, stop) : record_file(path, stop));
    } catch (const fs::filesystem_error& error) {
      throw UserError("cannot read " + path + ": " + error.code().message());
    }
  }
  return inputs;
}

InputRecords::InputRecords(std::vector<std::string> paths)
    : records_(std::async(std::launch::async, record_inputs, std::move(paths), StopToken(cancelled_))) {}

std::vector<InputFile> InputRecords::get(const StopToken& stop) {
  while (records_.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready)
    stop.stop_if_requested();
  return records_.get();
}

}  // namespace eelsvae
