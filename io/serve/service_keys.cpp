#include "io/serve/service_keys.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/files/atomic_file.h"
#include "io/files/json_text.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr size_t key_length = 40;

std::array<std::string, 2> make_pair() {
  char public_key[key_length + 1], secret_key[key_length + 1];
  if (zmq_curve_keypair(public_key, secret_key) != 0)
    throw UserError("this libzmq was built without CURVE; install one with it (Debian: libzmq5)");
  return {public_key, secret_key};
}

void write_secret(const std::string& path, const nlohmann::ordered_json& keys) {
  // Made for the owner alone from the first byte on; never over another file.
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0)
    throw UserError(errno == EEXIST ? path + " is there already; remove it to make new keys"
                                    : "cannot write " + path + ": " + std::strerror(errno));
  const std::string text = keys.dump(2) + "\n";
  const bool written = ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int error = errno;
  if (::close(file) != 0 || !written) throw UserError("cannot write " + path + ": " + std::strerror(error));
}

}  // namespace

void make_service_keys(const std::string& path) {
  const std::string client_path = path + ".client";
  for (const std::string& each : {path, client_path})
    if (std::filesystem::exists(each))
      throw UserError(each + " is there already; remove it to make new keys");
  const auto [service_public, service_secret] = make_pair();
  const auto [client_public, client_secret] = make_pair();
  write_secret(path, {{"service_public", service_public},
                      {"service_secret", service_secret},
                      {"client_public", client_public}});
  write_secret(client_path, {{"service_public", service_public},
                             {"client_public", client_public},
                             {"client_secret", client_secret}});
}

ServiceKeys load_service_keys(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0 && (status.st_mode & 077) != 0)
    throw UserError(path + ": others may read it; chmod 600 " + path);
  const nlohmann::json keys = parse_json_object(read_text_file(path), path);
  const auto key = [&](const char* name) {
    std::array<uint8_t, 32> bytes;
    const auto found = keys.find(name);
    if (found == keys.end() || !found->is_string() || found->get<std::string>().size() != key_length ||
        zmq_z85_decode(bytes.data(), found->get<std::string>().c_str()) == nullptr)
      throw UserError(path + ": has no " + name +
                      "; take the file that eelsvae-serve --make-keys wrote for the service");
    return found->get<std::string>();
  };
  return {key("service_secret"), key("client_public")};
}

}  // namespace eelsvae
