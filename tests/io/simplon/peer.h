#pragma once

#include <gtest/gtest.h>
#include <zmq.h>

#include <cerrno>
#include <string>

#include "tests/io/simplon/detector_messages.h"

namespace eelsvae {

// One end of a connection.
class Peer {
 public:
  // queue: messages that wait here, on either side of it.
  explicit Peer(int type, int queue = 1000) : context_(zmq_ctx_new()), socket_(zmq_socket(context_, type)) {
    zmq_setsockopt(socket_, ZMQ_SNDHWM, &queue, sizeof queue);
    zmq_setsockopt(socket_, ZMQ_RCVHWM, &queue, sizeof queue);
    const int linger = 0, patience = 60000;
    zmq_setsockopt(socket_, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &patience, sizeof patience);
    zmq_setsockopt(socket_, ZMQ_SNDTIMEO, &patience, sizeof patience);
  }
  ~Peer() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  // Where it was bound to.
  std::string bind(const std::string& endpoint = "tcp://127.0.0.1:*") {
    EXPECT_EQ(zmq_bind(socket_, endpoint.c_str()), 0) << zmq_strerror(errno);
    char address[256];
    size_t size = sizeof address;
    zmq_getsockopt(socket_, ZMQ_LAST_ENDPOINT, address, &size);
    return address;
  }
  void connect(const std::string& endpoint) { EXPECT_EQ(zmq_connect(socket_, endpoint.c_str()), 0); }
  void send(const PartsOfMessage& parts) {
    for (size_t i = 0; i < parts.size(); ++i)
      EXPECT_GE(zmq_send(socket_, parts[i].data(), parts[i].size(), i + 1 < parts.size() ? ZMQ_SNDMORE : 0),
                0);
  }
  void send(const Bytes& message) { send(PartsOfMessage{message}); }
  // Whether the message found room.
  bool send_now(const Bytes& message) {
    return zmq_send(socket_, message.data(), message.size(), ZMQ_DONTWAIT) >= 0;
  }
  PartsOfMessage receive() {
    PartsOfMessage parts;
    int more = 1;
    while (more) {
      zmq_msg_t message;
      zmq_msg_init(&message);
      if (zmq_msg_recv(&message, socket_, 0) < 0) return {};
      parts.emplace_back(static_cast<const char*>(zmq_msg_data(&message)), zmq_msg_size(&message));
      more = zmq_msg_more(&message);
      zmq_msg_close(&message);
    }
    return parts;
  }

 private:
  void* context_;
  void* socket_;
};

}  // namespace eelsvae
