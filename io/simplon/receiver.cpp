#include "io/simplon/receiver.h"

#include <zmq.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "io/files/number_text.h"
#include "io/simplon/stream_decoder.h"

namespace eelsvae {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::string zmq_error() {
  return zmq_strerror(zmq_errno());
}

class Context {
 public:
  Context() : context_(zmq_ctx_new()) {
    if (!context_) throw std::bad_alloc();
  }
  ~Context() { zmq_ctx_term(context_); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  void* get() const { return context_; }

 private:
  void* context_;
};

class Socket {
 public:
  Socket(const Context& context, int type) : socket_(zmq_socket(context.get(), type)) {
    if (!socket_) throw UserError("no ZeroMQ socket can be opened: " + zmq_error());
  }
  ~Socket() { zmq_close(socket_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  void* get() const { return socket_; }

  template <class Value>
  void set(int option, Value value) {
    expect(zmq_setsockopt(socket_, option, &value, sizeof value) == 0, "an option of a socket");
  }

 private:
  void* socket_;
};

class Message {
 public:
  Message() { zmq_msg_init(&message_); }
  ~Message() { zmq_msg_close(&message_); }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  zmq_msg_t* get() { return &message_; }
  std::span<const std::byte> bytes() {
    return {static_cast<const std::byte*>(zmq_msg_data(&message_)), zmq_msg_size(&message_)};
  }
  bool more() { return zmq_msg_more(&message_); }

 private:
  zmq_msg_t message_;
};

// Whether a socket's peers come and go.
class Connections {
 public:
  Connections(const Context& context, const Socket& watched, const std::string& name)
      : events_(context, ZMQ_PAIR) {
    const std::string endpoint = "inproc://events of " + name;
    events_.set(ZMQ_LINGER, 0);
    expect(zmq_socket_monitor(watched.get(), endpoint.c_str(),
                              ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) == 0 &&
               zmq_connect(events_.get(), endpoint.c_str()) == 0,
           "a monitor of a socket");
  }
  void* socket() const { return events_.get(); }
  // +1 for one that came, -1 for one that went, 0: nothing happened since the last call.
  int next() {
    Message event, address;
    if (zmq_msg_recv(event.get(), events_.get(), ZMQ_DONTWAIT) < 0) return 0;
    if (event.more()) zmq_msg_recv(address.get(), events_.get(), ZMQ_DONTWAIT);
    uint16_t kind = 0;
    expect(event.bytes().size() >= sizeof kind, "an event of a socket");
    std::memcpy(&kind, event.bytes().data(), sizeof kind);
    return kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED ? 1 : -1;
  }

 private:
  Socket events_;
};

}  // namespace

struct SimplonReceiver::Parts {
  Parts(const ReceiverOptions& receiver_options, ScanSink& scan_sink)
      : options(receiver_options),
        sink(scan_sink),
        scan(options.scan, options.frames.region, scan_sink),
        decoder(options.frames),
        pull(context, ZMQ_PULL),
        detectors(context, pull, "the detector") {
    pull.set(ZMQ_RCVHWM, std::max(options.queue, 1));
    pull.set(ZMQ_LINGER, 0);
    pull.set<int64_t>(ZMQ_MAXMSGSIZE, most_message_bytes);
    // A detector that was switched off closes nothing.
    pull.set(ZMQ_TCP_KEEPALIVE, 1);
    pull.set(ZMQ_TCP_KEEPALIVE_IDLE, 1);
    pull.set(ZMQ_TCP_KEEPALIVE_INTVL, 1);
    pull.set(ZMQ_TCP_KEEPALIVE_CNT, 3);
    if (!options.forward_endpoint.empty()) {
      push = std::make_unique<Socket>(context, ZMQ_PUSH);
      push->set(ZMQ_SNDHWM, std::max(options.forward_queue, 1));
      push->set(ZMQ_LINGER, 1000);  // ms, for what the next receiver has not taken yet
      receivers = std::make_unique<Connections>(context, *push, "the next receiver");
      if (zmq_bind(push->get(), options.forward_endpoint.c_str()) != 0) {
        throw UserError("the stream cannot be forwarded at '" + options.forward_endpoint +
                        "': " + zmq_error() +
                        "; give an address of this machine, such as tcp://127.0.0.1:9998, that is free");
      }
    }
    if (zmq_connect(pull.get(), options.endpoint.c_str()) != 0) {
      throw UserError("'" + options.endpoint + "' is no address of a detector: " + zmq_error() +
                      "; give one such as tcp://HOST:31001");
    }
  }

  ReceiverOptions options;
  ScanSink& sink;
  ScanOfSeries scan;
  StreamDecoder decoder;
  Context context;
  Socket pull;
  Connections detectors;
  std::unique_ptr<Socket> push;
  std::unique_ptr<Connections> receivers;  // of what is forwarded
  ReceiverCounts counts;
  bool connected = false;
  bool forwarding = true;  // the last message went out
  bool drops_message = false;
  Clock::time_point oldest;  // when the first of the waiting spectra came

  // A message, if there is one.
  bool take_message();
  void forward(Message& part, bool first);
  void take_events();
};

// The parts of a message are there at once.
bool SimplonReceiver::Parts::take_message() {
  std::string fault;
  std::exception_ptr failure;
  for (bool first = true, last = false; !last; first = false) {
    Message part;
    const int size = zmq_msg_recv(part.get(), pull.get(), ZMQ_DONTWAIT);
    if (size < 0) {
      if (errno == EINTR && !first) continue;
      if (errno == EAGAIN || errno == EINTR) return false;
      throw UserError("nothing can be received from '" + options.endpoint + "': " + zmq_error());
    }
    last = !part.more();
    if (first) ++counts.messages;
    counts.bytes += size;
    if (push) forward(part, first);
    try {
      decoder.take(part.bytes(), last, scan);
    } catch (const BadMessage& error) {
      if (fault.empty()) fault = error.what();
    } catch (...) {
      // The next receiver gets all parts of the message all the same.
      failure = std::current_exception();
    }
  }
  if (!fault.empty()) {
    ++counts.bad;
    scan.bad_message(fault);
  }
  if (failure) std::rethrow_exception(failure);
  return true;
}

void SimplonReceiver::Parts::forward(Message& part, bool first) {
  if (first) drops_message = false;
  if (drops_message) return;
  Message copy;  // shares the bytes
  const bool more = part.more();
  if (zmq_msg_copy(copy.get(), part.get()) == 0 &&
      zmq_msg_send(copy.get(), push->get(), ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0) {
    forwarding = true;
    if (!more) ++counts.forwarded;
    return;
  }
  drops_message = true;
  ++counts.not_forwarded;
  if (std::exchange(forwarding, false))
    sink.report("nobody takes the forwarded stream, or not fast enough: messages are not forwarded");
}

void SimplonReceiver::Parts::take_events() {
  while (const int came = detectors.next()) {
    const bool now = came > 0;
    if (std::exchange(connected, now) == now) continue;
    sink.report(now ? "connected with the detector at " + options.endpoint
                    : "the connection with the detector at " + options.endpoint + " broke; waiting for it");
  }
  while (const int came = receivers ? receivers->next() : 0) {
    if (came < 0) continue;  // which does not matter before there is a message that nobody takes
    // Asked for its state, a socket takes note of its new peer, so that no message misses it from here on.
    int state = 0;
    size_t size = sizeof state;
    expect(zmq_getsockopt(push->get(), ZMQ_EVENTS, &state, &size) == 0, "the state of a socket");
    forwarding = true;
    sink.report("a receiver takes the forwarded stream");
  }
}

SimplonReceiver::SimplonReceiver(const ReceiverOptions& options, ScanSink& sink)
    : parts_(std::make_unique<Parts>(options, sink)) {}
SimplonReceiver::~SimplonReceiver() = default;

int64_t SimplonReceiver::receive(milliseconds timeout, int64_t most_messages) {
  Parts& parts = *parts_;
  const Clock::time_point end = Clock::now() + timeout;
  int64_t taken = 0;
  while (taken < most_messages) {
    const bool waited_before = parts.scan.waiting() > 0;
    if (parts.take_message()) {
      ++taken;
      if (!waited_before) parts.oldest = Clock::now();
      if (parts.scan.waiting() > 0 && Clock::now() >= parts.oldest + parts.options.longest_wait)
        parts.scan.flush();
      continue;
    }
    parts.take_events();
    Clock::time_point until = end;
    if (parts.scan.waiting() > 0) until = std::min(until, parts.oldest + parts.options.longest_wait);
    const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
    std::vector<zmq_pollitem_t> sockets = {{parts.pull.get(), 0, ZMQ_POLLIN, 0},
                                           {parts.detectors.socket(), 0, ZMQ_POLLIN, 0}};
    if (parts.receivers) sockets.push_back({parts.receivers->socket(), 0, ZMQ_POLLIN, 0});
    const int ready = zmq_poll(sockets.data(), static_cast<int>(sockets.size()), std::max<long>(left, 0));
    if (ready < 0) break;  // a signal
    if (ready > 0) continue;
    parts.scan.flush();
    if (Clock::now() >= end) break;
  }
  return taken;
}

void SimplonReceiver::stop() {
  parts_->scan.stop();
}

const ReceiverCounts& SimplonReceiver::counts() const {
  return parts_->counts;
}

ScanFrames SimplonReceiver::frames() const {
  return parts_->scan.frames();
}

bool SimplonReceiver::scan_running() const {
  return parts_->scan.running();
}

bool SimplonReceiver::connected() const {
  return parts_->connected;
}

std::string SimplonReceiver::forward_endpoint() const {
  if (!parts_->push) return "";
  std::string endpoint(256, '\0');
  size_t size = endpoint.size();
  expect(zmq_getsockopt(parts_->push->get(), ZMQ_LAST_ENDPOINT, endpoint.data(), &size) == 0,
         "the forwarding address");
  return endpoint.c_str();
}

void* SimplonReceiver::socket() const {
  return parts_->pull.get();
}

}  // namespace eelsvae
