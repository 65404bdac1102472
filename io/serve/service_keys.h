#pragma once

#include <string>

namespace eelsvae {

// What the service needs of the keys by which it and its clients know each other where they talk over a
// network (CURVE of ZeroMQ); Z85 texts of 40 characters.
struct ServiceKeys {
  std::string service_secret, client_public;
};

// Makes both pairs and writes two files that only their owner may read: `path`, for the service, with the
// clients' public key, and `path`.client, for the clients, with the service's. UserError if one is there
// already, cannot be written, or this libzmq has no CURVE.
void make_service_keys(const std::string& path);

// Of the service's file. UserError if it is not such a file, or others than its
// owner may read it.
ServiceKeys load_service_keys(const std::string& path);

}  // namespace eelsvae
