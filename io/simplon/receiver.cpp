#include "io/simplon/receiver.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>
#include <zmq.hpp>

#include "io/files/number_text.h"
#include "io/simplon/stream_decoder.h"

namespace eelsvae {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int64_t messages_between_events = 100;  // while they come without a pause

// Of a call that does not wait, and that a signal may break off.
template <class Call>
auto uninterrupted(const Call& call) {
  while (true) {
    try {
      return call();
    } catch (const zmq::error_t& error) {
      if (error.num() != EINTR) throw;
    }
  }
}

bool receive_part(zmq::socket_t& socket, zmq::message_t& part) {
  return uninterrupted([&] { return socket.recv(part, zmq::recv_flags::dontwait); }).has_value();
}

// Whether a socket's peers come and go.
class Connections {
 public:
  Connections(zmq::context_t& context, zmq::socket_t& watched, const std::string& name)
      : events_(context, zmq::socket_type::pair) {
    const std::string endpoint = "inproc://events of " + name;
    events_.set(zmq::sockopt::linger, 0);
    expect(zmq_socket_monitor(watched.handle(), endpoint.c_str(),
                              ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) == 0,
           "a monitor of a socket");
    events_.connect(endpoint);
  }
  void* socket() { return events_.handle(); }
  // +1 for one that came, -1 for one that went, 0: nothing happened since the last call.
  int next() {
    zmq::message_t event, address;
    if (!receive_part(events_, event)) return 0;
    if (event.more()) receive_part(events_, address);
    uint16_t kind = 0;
    expect(event.size() >= sizeof kind, "an event of a socket");
    std::memcpy(&kind, event.data(), sizeof kind);
    return kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED ? 1 : -1;
  }

 private:
  zmq::socket_t events_;
};

}  // namespace

struct SimplonReceiver::Parts {
  Parts(const ReceiverOptions& receiver_options, ScanSink& scan_sink)
      : options(receiver_options),
        sink(scan_sink),
        scan(options.scan, options.frames.region, scan_sink),
        decoder(options.frames),
        pull(context, zmq::socket_type::pull),
        detectors(context, pull, "the detector") {
    pull.set(zmq::sockopt::rcvhwm, std::max(options.queue, 1));
    pull.set(zmq::sockopt::linger, 0);
    pull.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(most_message_bytes));
    // A detector that was switched off closes nothing.
    pull.set(zmq::sockopt::tcp_keepalive, 1);
    pull.set(zmq::sockopt::tcp_keepalive_idle, 1);
    pull.set(zmq::sockopt::tcp_keepalive_intvl, 1);
    pull.set(zmq::sockopt::tcp_keepalive_cnt, 3);
    if (!options.forward_endpoint.empty()) {
      push = zmq::socket_t(context, zmq::socket_type::push);
      push.set(zmq::sockopt::sndhwm, std::max(options.forward_queue, 1));
      push.set(zmq::sockopt::linger, 1000);  // ms, for what the next receiver has not taken yet
      receivers.emplace(context, push, "the next receiver");
      try {
        push.bind(options.forward_endpoint);
      } catch (const zmq::error_t& error) {
        throw UserError("the stream cannot be forwarded at '" + options.forward_endpoint +
                        "': " + error.what() +
                        "; give an address of this machine, such as tcp://127.0.0.1:9998, that is free");
      }
    }
    try {
      pull.connect(options.endpoint);
    } catch (const zmq::error_t& error) {
      throw UserError("'" + options.endpoint + "' is no address of a detector: " + error.what() +
                      "; give one such as tcp://HOST:31001");
    }
  }

  ReceiverOptions options;
  ScanSink& sink;
  ScanOfSeries scan;
  StreamDecoder decoder;
  zmq::context_t context;
  zmq::socket_t pull;
  Connections detectors;
  zmq::socket_t push;                    // none where nothing is forwarded
  std::optional<Connections> receivers;  // of what is forwarded
  ReceiverCounts counts;
  bool connected = false;
  bool drops_message = false;
  int64_t largest_image = 0;  // message, in bytes, for which the queues are short enough
  int64_t room = 0;           // for so many of it
  Clock::time_point oldest;   // when the first of the waiting spectra came

  // A message, if there is one.
  bool take_message();
  void forward(zmq::message_t& part, bool first);
  void take_events();
  void fit_queues(int64_t image_bytes);
};

// The parts of a message are there at once.
bool SimplonReceiver::Parts::take_message() {
  std::string fault;
  std::exception_ptr failure;
  int64_t bytes = 0;
  const int64_t images_before = scan.images();
  for (bool first = true, last = false; !last; first = false) {
    zmq::message_t part;
    if (!receive_part(pull, part)) return false;
    last = !part.more();
    if (first) ++counts.messages;
    bytes += static_cast<int64_t>(part.size());
    if (push) forward(part, first);
    try {
      decoder.take({part.data<std::byte>(), part.size()}, last, scan);
    } catch (const BadMessage& error) {
      if (fault.empty()) fault = error.what();
    } catch (...) {
      // The next receiver gets all parts of the message all the same.
      failure = std::current_exception();
    }
  }
  counts.bytes += bytes;
  // Other messages may have tables for all pixels, but are few.
  if (const int64_t images = scan.images(); images != images_before && (images == 1 || bytes > largest_image))
    fit_queues(bytes);
  if (!fault.empty()) {
    ++counts.bad;
    scan.bad_message(fault);
  }
  if (failure) std::rethrow_exception(failure);
  return true;
}

void SimplonReceiver::Parts::forward(zmq::message_t& part, bool first) {
  if (first) drops_message = false;
  if (drops_message) return;
  zmq::message_t copy;
  copy.copy(part);  // shares the bytes
  const bool more = part.more();
  const auto flags = zmq::send_flags::dontwait | (more ? zmq::send_flags::sndmore : zmq::send_flags::none);
  if (uninterrupted([&] { return push.send(copy, flags); })) {
    if (!more) ++counts.forwarded;
    return;
  }
  drops_message = true;
  ++counts.not_forwarded;
  scan.not_forwarded(1);
}

// For a series' images of that size and somewhat larger ones, as compressed ones are not all of one size.
void SimplonReceiver::Parts::fit_queues(int64_t image_bytes) {
  largest_image = image_bytes + image_bytes / 8;
  const int64_t fit = std::max<int64_t>(options.queue_memory / largest_image, 1);
  if (std::exchange(room, fit) == fit) return;
  // ZeroMQ takes these two for connections that there are, too.
  const auto at_most = [&](int queue) {
    return static_cast<int>(std::clamp<int64_t>(room, 1, std::max(queue, 1)));
  };
  pull.set(zmq::sockopt::rcvhwm, at_most(options.queue));
  if (push) push.set(zmq::sockopt::sndhwm, at_most(options.forward_queue));
  if (room < options.queue || (push && room < options.forward_queue)) {
    constexpr double mebibyte = 1 << 20;
    sink.report("images have " + number_text(static_cast<double>(image_bytes) / mebibyte) +
                " MiB: " + std::to_string(room) + " of them may wait, in " +
                number_text(static_cast<double>(options.queue_memory) / mebibyte) + " MiB");
  }
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
    [[maybe_unused]] const int state = push.get(zmq::sockopt::events);
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
      if (++taken % messages_between_events == 0) parts.take_events();
      if (!waited_before) parts.oldest = Clock::now();
      if (parts.scan.waiting() > 0 && Clock::now() >= parts.oldest + parts.options.longest_wait)
        parts.scan.flush();
      if (Clock::now() >= end) break;
      continue;
    }
    parts.take_events();
    Clock::time_point until = end;
    if (parts.scan.waiting() > 0) until = std::min(until, parts.oldest + parts.options.longest_wait);
    const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
    std::vector<zmq_pollitem_t> sockets = {{parts.pull.handle(), 0, ZMQ_POLLIN, 0},
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
  return parts_->push ? parts_->push.get(zmq::sockopt::last_endpoint) : "";
}

}  // namespace eelsvae
