#pragma once

#include <string>

namespace eelsvae {

// Keys by which the service and its clients know each other where they talk over a network (CURVE of ZeroMQ):
// two pairs, Z85 texts of 40 characters.
struct ServiceKeys {
  std::string service_public, service_secret, client_public, client_secret;
};

// Makes both pairs and writes two files that only their owner may read: `path`, for the service, with the
// clients' public key, and `path`.client, for the clients, with the service's. UserError if one is there
// already, cannot be written, or this libzmq has no CURVE.
void make_service_keys(const std::string& path);

// Of the service's file; client_secret stays empty. UserError if it is not such a file, or others than its
// owner may read it.
ServiceKeys load_service_keys(const std::string& path);

}  // namespace eelsvae
