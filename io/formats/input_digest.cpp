#include "io/formats/input_digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <memory>

#include "io/files/mapped_file.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

std::string sha256_of(const MappedFile& file, const StopToken& stop) {
  constexpr size_t block = size_t{1} << 22;
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  bool done = context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  for (size_t at = 0; done && at < file.size(); at += block) {
    stop.stop_if_requested();
    const size_t count = std::min(block, file.size() - at);
    done = EVP_DigestUpdate(context.get(), file.data() + at, count) == 1;
    file.release(file.data() + at, file.data() + at + count);
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (!done || EVP_DigestFinal_ex(context.get(), digest, &size) != 1)
    throw UserError(file.path() + ": its SHA-256 cannot be computed by this OpenSSL");
  std::string text;
  for (unsigned int i = 0; i < size; ++i)
    for (const int digit : {digest[i] >> 4, digest[i] & 15}) text += "0123456789abcdef"[digit];
  return text;
}

}  // namespace

std::vector<InputFile> record_inputs(const std::vector<std::string>& paths, const StopToken& stop) {
  std::vector<InputFile> inputs;
  for (const std::string& path : paths) {
    const MappedFile file(path);
    inputs.push_back({path, file.size(), sha256_of(file, stop)});
  }
  return inputs;
}

}  // namespace eelsvae
