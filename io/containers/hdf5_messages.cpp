#include "io/containers/hdf5_messages.h"

#include <sys/socket.h>

#include <cerrno>

namespace eelsvae::hdf5 {
namespace {

// Goes on after signals, and until everything is through.
template <class Transfer>
bool transfer_all(size_t count, const Transfer& transfer) {
  for (size_t done = 0; done < count;) {
    const ssize_t now = transfer(done);
    if (now > 0)
      done += static_cast<size_t>(now);
    else if (now == 0 || errno != EINTR)
      return false;
  }
  return true;
}

}  // namespace

bool send_bytes(int socket, const void* bytes, size_t count) {
  return transfer_all(count, [&](size_t done) {
    return send(socket, static_cast<const std::byte*>(bytes) + done, count - done, MSG_NOSIGNAL);
  });
}

bool receive_bytes(int socket, void* bytes, size_t count) {
  return transfer_all(count, [&](size_t done) {
    return recv(socket, static_cast<std::byte*>(bytes) + done, count - done, 0);
  });
}

}  // namespace eelsvae::hdf5
