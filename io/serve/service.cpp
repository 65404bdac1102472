#include "io/serve/service.h"

#include <arpa/inet.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <zmq.hpp>

#include "io/files/message_text.h"
#include "io/files/number_text.h"
#include "io/serve/detector_feed.h"
#include "io/serve/live_view.h"
#include "io/serve/messages.h"
#include "io/serve/page_server.h"
#include "io/serve/scan_work.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using nlohmann::json;

constexpr int64_t most_blocks = 4096;     // that a sender may have outstanding
constexpr size_t most_clients = 100;      // that are told what happens
constexpr int waiting_messages = 2000;    // that one of them may leave unread
constexpr double show_seconds = 1;        // a client is not shown all of a scan more often
constexpr double forgotten_seconds = 60;  // of silence, after which a client has to begin anew
constexpr int messages_at_once = 256;     // that are received before others have their turn
constexpr std::chrono::milliseconds tick(100);

// Wakes a poll from another thread.
class Waker {
 public:
  Waker() : descriptor_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (descriptor_ < 0) throw UserError(std::string("cannot make an eventfd: ") + std::strerror(errno));
  }
  ~Waker() { ::close(descriptor_); }
  Waker(const Waker&) = delete;
  Waker& operator=(const Waker&) = delete;
  int descriptor() const { return descriptor_; }
  void wake() const {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(descriptor_, &one, sizeof one);
  }
  void reset() const {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t read = ::read(descriptor_, &count, sizeof count);
  }

 private:
  int descriptor_;
};

class Service {
  using For = ScanWork::For;

 public:
  Service(const ServiceOptions& options, LiveScanSource& source,
          const std::function<void(const std::string&)>& log)
      : options_(options),
        log_(log),
        view_(options.version),
        gate_(context_, zmq::socket_type::rep),
        router_(context_, zmq::socket_type::router),
        work_(
            source, view_, [this] { waker_.wake(); }, options.exclude) {
    const bool local = is_local_address(options.address);
    if (!local && !options.keys)
      throw UserError(
          options.address +
          " can be reached from other machines, for which keys are needed: eelsvae-serve --make-keys "
          "FILE makes them, --keys FILE takes them");
    if (options.keys) {
      gate_.bind("inproc://zeromq.zap.01");
      router_.set(zmq::sockopt::curve_server, true);
      router_.set(zmq::sockopt::curve_secretkey, options.keys->service_secret);
      std::array<uint8_t, 32> client;
      zmq_z85_decode(client.data(), options.keys->client_public.c_str());
      client_key_.assign(client.begin(), client.end());
    }
    router_.set(zmq::sockopt::router_mandatory, true);
    router_.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(largest_message));
    router_.set(zmq::sockopt::sndhwm, waiting_messages);
    router_.set(zmq::sockopt::rcvhwm, messages_at_once);
    router_.set(zmq::sockopt::linger, 200);
    // Connections to machines that are gone.
    router_.set(zmq::sockopt::heartbeat_ivl, 1000);
    router_.set(zmq::sockopt::heartbeat_timeout, 5000);
    if (options.address.find('[') != std::string::npos) router_.set(zmq::sockopt::ipv6, true);
    try {
      router_.bind(options.address);
    } catch (const zmq::error_t& error) {
      throw UserError("cannot listen at " + options.address + ": " + error.what() +
                      "; take another address with --listen");
    }
    if (options.page_port) page_ = std::make_unique<PageServer>(view_, *options.page_port);
    log_("listening at " + router_.get(zmq::sockopt::last_endpoint) +
         (options.keys ? ", for clients that have the key" : ""));
    if (page_) log_("page at " + page_->url());
    log_("scores by " + source.description());
    if (options.detector) {
      feed_ = std::make_unique<DetectorFeed>(*options.detector, options.detector_queue,
                                             [this] { waker_.wake(); });
      log_("receives the detector at " + options.detector->endpoint +
           (feed_->forwards().empty() ? "" : ", forwards its stream at " + feed_->forwards()));
      const ScanOptions& scan = options.detector->scan;
      const Axis energy = energies_of(scan, options.detector->frames.region);
      if (scan.shape) check_scan_size((*scan.shape)[0], (*scan.shape)[1], std::max<int64_t>(1, energy.size));
      if (scan.shape && energy.size > 0 && energy.units == "eV")
        work_.prepare({(*scan.shape)[0], (*scan.shape)[1], energy});
    }
  }

  void run(const StopToken& stop) {
    double next_tick = 0;
    while (!stop.requested()) {
      std::array<zmq::pollitem_t, 3> items = {{{router_.handle(), 0, ZMQ_POLLIN, 0},
                                               {nullptr, waker_.descriptor(), ZMQ_POLLIN, 0},
                                               {gate_.handle(), 0, ZMQ_POLLIN, 0}}};
      try {
        zmq::poll(items.data(), options_.keys ? 3 : 2, tick);
      } catch (const zmq::error_t& error) {
        if (error.num() != EINTR) throw;
        continue;
      }
      if (items[2].revents) answer_gate();
      if (items[0].revents)
        for (int i = 0; i < messages_at_once && receive(); ++i) {
        }
      if (items[1].revents) {
        waker_.reset();
        for (ScanWork::Event& event : work_.events()) deliver(event);
        // While a client's start is being decided, what the detector sends waits for its turn.
        if (feed_ && starting_.empty())
          for (DetectorFeed::Event& event : feed_->events())
            std::visit([this](auto& any) { take(any); }, event);
      }
      const double now = service_clock();
      if (now >= next_tick) {
        look_after_clients(now);
        next_tick = now + 0.1;
      }
      if (!detector_failure_.empty()) {
        broadcast({{"type", "closing"}, {"message", "the detector cannot be received any more"}});
        throw UserError("the detector cannot be received any more: " + detector_failure_);
      }
    }
    broadcast({{"type", "closing"}, {"message", "the service was stopped"}});
    log_("stopped");
  }

 private:
  struct Client {
    double heard = 0, beat = 0;
    bool watches = false;
    bool wants_all = false;    // whether it is to be shown all that is known
    bool being_shown = false;  // whether the work has been asked to do so
    double next_show = 0;      // not before: a map may be large
    bool behind = false;       // did not read what it was told; is told all again when it does
    int64_t next_block = 0, outstanding = 0, blocks = 0;
  };

  // One message of a client; false: there is none.
  bool receive() {
    zmq::message_t identity;
    try {
      if (!router_.recv(identity, zmq::recv_flags::dontwait)) return false;
      const std::string name = identity.to_string();
      auto message = std::make_shared<zmq::message_t>();
      bool single = identity.more() && router_.recv(*message, zmq::recv_flags::dontwait);
      for (zmq::message_t rest; single && message->more();) {
        single = false;
        while (router_.recv(rest, zmq::recv_flags::dontwait) && rest.more()) {
        }
      }
      const double now = service_clock();
      if (const auto client = clients_.find(name); client != clients_.end()) hear(name, client->second, now);
      try {
        if (!single) throw UserError("a message has one part");
        const ClientMessage parsed =
            parse_client_message({static_cast<const std::byte*>(message->data()), message->size()});
        std::visit([&](const auto& any) { handle(name, any, message, now); }, parsed);
      } catch (const std::exception& error) {
        refuse(name, error.what());
      }
    } catch (const zmq::error_t& error) {
      if (error.num() != EINTR && error.num() != EAGAIN) throw;
    }
    return true;
  }

  void refuse(const std::string& name, const std::string& line) {
    json answer = error_message(line);
    answer["refused"] = true;
    send(name, answer);
  }

  // The connection can send nothing more of the scan.
  void end_sending(const std::string& name, const std::string& line) {
    json message = error_message(line);
    message["series"] = series_;
    message["fatal"] = true;
    send(name, message);
  }

  using Owner = std::shared_ptr<zmq::message_t>;

  Client& track(const std::string& name, double now) {
    if (!clients_.contains(name) && clients_.size() >= most_clients)
      throw UserError("this service has " + std::to_string(most_clients) + " clients already; end one");
    Client& client = clients_[name];
    client.heard = now;
    return client;
  }

  void handle(const std::string& name, const StartMessage& start, const Owner&, double now) {
    if (!starting_.empty() || !detector_starts_.empty())
      throw UserError("another scan is just beginning; wait until it has ended");
    if (sending() && detector_sends_)
      throw UserError("start: the scan '" + series_ + "' of the detector is running; wait for its end");
    if (sending() && producer_ != name && !(start.resume && start.series == series_))
      throw UserError("start: the scan '" + series_ +
                      "' is running, sent by another client; wait for its end");
    if (producer_ == name && !series_.empty() && start.series != series_)
      throw UserError("start: the scan '" + series_ + "' is running; end it first");
    track(name, now);
    starting_ = name;
    work_.start({For::client_start, name}, start);
  }

  void handle(const std::string& name, const BlockMessage& block, const Owner& owner, double now) {
    const auto bytes = static_cast<int64_t>(block.data.bytes.size());
    const auto refuse_block = [&](const std::string& line) {
      json message = error_message("block " + std::to_string(block.number) + ": " + line);
      message["number"] = block.number;
      message["fatal"] = true;
      send(name, message);
    };
    const auto found = clients_.find(name);
    if (found == clients_.end() || name != producer_ || block.series != series_)
      return refuse_block("this connection does not send the scan '" +
                          one_line(block.series.substr(0, longest_series)) +
                          "'; start it, with resume to go on with it");
    Client& client = found->second;
    if (block.number != client.next_block)
      return refuse_block("was expected to be " + std::to_string(client.next_block) +
                          "; blocks are lost: go on with resume");
    if (client.outstanding + bytes > options_.window || client.blocks >= most_blocks)
      return refuse_block("more than " + std::to_string(options_.window) + " bytes or " +
                          std::to_string(most_blocks) + " blocks are outstanding; wait until they are taken");
    ++client.next_block;
    ++client.blocks;
    client.outstanding += bytes;
    work_.take({For::client, name}, owner, block, now);
  }

  void handle(const std::string& name, const EndMessage& end, const Owner&, double now) {
    if (name != producer_ || end.series != series_)
      return refuse(name, "end: this connection does not send the scan '" + end.series + "'");
    work_.end({For::client, name}, end, now);
  }

  void handle(const std::string& name, const StatusMessage&, const Owner&, double) {
    json message = view_.state();
    message["type"] = "status";
    message["version"] = protocol_version;
    message["clients"] = clients_.size();
    if (feed_) {
      const auto [connected, counts] = feed_->state();
      message["detector"] = {{"connected", connected},
                             {"messages", counts.messages},
                             {"bad", counts.bad},
                             {"forwarded", counts.forwarded},
                             {"not_forwarded", counts.not_forwarded}};
    }
    send(name, message);
  }

  void handle(const std::string& name, const WatchMessage&, const Owner&, double now) {
    Client& client = track(name, now);
    client.watches = client.wants_all = true;
    show_if_due(name, client, now);
  }

  void handle(const std::string& name, const BeatMessage&, const Owner&, double) {
    if (!clients_.contains(name)) {
      json message = error_message(
          "this service does not know this connection: it was started anew, or the connection was "
          "interrupted");
      message["unknown"] = true;
      send(name, message);
    }
  }

  void handle(const std::string& name, const LeaveMessage&, const Owner&, double) {
    if (clients_.contains(name)) drop(name, "left");
  }

  // What the detector sends takes the same way as what clients send.
  void take(DetectorFeed::Begin& begin) {
    const std::string series = begin.start.series;
    detector_series_.clear();
    if (sending() && !detector_sends_) {
      feed_->done_with(DetectorFeed::scan_bytes);
      const std::string why = "the scan '" + series_ + "', which a client sends, is running";
      log_(series + " is not scored: " + why);
      return tell_not_scored(series, why);
    }
    detector_series_ = series;
    detector_starts_.push_back({series, begin.start.may_come});
    detector_refused_ = false;
    work_.start({For::detector_start, ""}, std::move(begin.start));
  }

  void tell_not_scored(const std::string& series, const std::string& why) {
    broadcast(
        {{"type", "notice"}, {"series", series}, {"message", one_line(series + " is not scored: " + why)}});
  }

  void take(DetectorFeed::Spectra& spectra) {
    if (spectra.block.series != detector_series_)
      return feed_->done_with(static_cast<int64_t>(spectra.block.data.bytes.size()) +
                              DetectorFeed::block_bytes);
    work_.take({For::detector_block, ""}, std::move(spectra.owner), spectra.block, spectra.arrival);
  }

  void take(DetectorFeed::End& end) {
    if (end.end.series != detector_series_) return;
    detector_series_.clear();
    work_.end({For::detector_end, ""}, std::move(end.end), end.arrival);
  }

  void take(DetectorFeed::Link& link) {
    detector_there_ = link.connected;
    if (!detector_sends_ || quiet_ != link.connected) return;
    quiet_ = !link.connected;
    view_.set_producer_lost(quiet_);
    broadcast(producer_message(quiet_ ? "lost" : "back"));
  }

  void take(DetectorFeed::Said& said) { log_(said.line); }
  void take(DetectorFeed::Failed& failed) { detector_failure_ = failed.why; }

  // What came of what the detector sent.
  void deliver_start(const json& message) {
    const auto [series, rate] = std::move(detector_starts_.front());
    detector_starts_.pop_front();
    feed_->done_with(DetectorFeed::scan_bytes);
    if (message["type"] != "started") {
      if (detector_series_ == series) detector_series_.clear();
      detector_refused_ = true;  // as has been said
      return tell_not_scored(series, message["message"].get<std::string>());
    }
    series_ = series;
    producer_.clear();
    detector_sends_ = true;
    quiet_ = !detector_there_;
    view_.set_producer_lost(quiet_);
    if (rate && message["capacity"].is_number() && *rate > message["capacity"].get<double>())
      log_("by its frame time the detector may send " + number_text(*rate) + " spectra/s, and " +
           number_text(message["capacity"].get<double>()) +
           " can be scored: " + number_text(static_cast<double>(options_.detector_queue >> 20)) +
           " MiB of spectra wait, what comes beyond is not scored");
  }

  void deliver_block(const json& message, int64_t bytes) {
    feed_->done_with(bytes + DetectorFeed::block_bytes);
    if (message["type"] == "error" && !std::exchange(detector_refused_, true))
      log_("spectra of the detector were not taken: " + message["message"].get<std::string>());
  }

  void deliver_end(const json& message) {
    if (!detector_refused_)
      log_("the scan of the detector has no end: " + message["message"].get<std::string>());
    detector_sends_ = false;
  }

  json producer_message(const char* state) const {
    return {{"type", "producer"}, {"series", series_}, {"state", state}};
  }

  void deliver(ScanWork::Event& event) {
    if (!event.log.empty()) log_(event.log);
    if (event.to.kind == For::everyone && event.message.is_null()) return;
    // Who sends, only this thread knows.
    if (event.message.is_object() && event.message["type"] == "scan" && event.message["state"] == "running")
      event.message["producer"] = sending() ? "sending" : "lost";
    switch (event.to.kind) {
      case For::everyone:
        return deliver_to_all(event.message);
      case For::client:
        return deliver_to_client(event.to.client, event);
      case For::client_start:
        return deliver_client_start(event.to.client, event.message);
      case For::detector_start:
        return deliver_start(event.message);
      case For::detector_block:
        return deliver_block(event.message, event.bytes);
      case For::detector_end:
        return deliver_end(event.message);
    }
  }

  void deliver_to_all(json& message) {
    const std::string type = message["type"];
    const bool failed = type == "scan" && message["state"] == "failed";
    if (failed && !producer_.empty())
      end_sending(producer_, "the scan '" + series_ +
                                 "' cannot be scored any further: " + message["failure"].get<std::string>());
    if (type == "ended" || failed) {
      // The state stays with the work; nobody sends any more.
      if (message["series"] == detector_series_) detector_series_.clear();
      if (detector_sends_ && type != "ended") detector_refused_ = true;
      series_.clear();
      producer_.clear();
      detector_sends_ = quiet_ = false;
    }
    broadcast(std::move(message));
  }

  void deliver_to_client(const std::string& name, ScanWork::Event& event) {
    if (const auto found = clients_.find(name); found != clients_.end() && event.bytes > 0) {
      found->second.outstanding -= event.bytes;
      --found->second.blocks;
    }
    if (event.message.is_null()) {
      if (const auto found = clients_.find(name); found != clients_.end()) found->second.being_shown = false;
      return;
    }
    send(name, event.message);
  }

  void deliver_client_start(const std::string& name, json& message) {
    starting_.clear();
    if (message["type"] == "started") begin_sending(name, message);
    send(name, message);
    // Who was refused is told nothing more, unless it has asked for that.
    const auto found = clients_.find(name);
    if (found != clients_.end() && name != producer_ && !found->second.watches) clients_.erase(found);
  }

  void begin_sending(const std::string& name, json& started) {
    const bool was_lost = !sending() && !series_.empty();
    if (std::exchange(detector_sends_, false)) {  // which is not connected
      detector_series_.clear();
    } else if (!producer_.empty() && producer_ != name) {
      end_sending(producer_, "another client has taken the place of this one");
      clients_.erase(producer_);
    }
    series_ = started["series"];
    started["window"] = options_.window;
    started["most_blocks"] = most_blocks;
    started["largest_message"] = largest_message;
    const auto found = clients_.find(name);
    producer_ = name;
    quiet_ = false;
    if (found == clients_.end()) {  // it went while the scan was made
      producer_.clear();
      return tell_lost("went away");
    }
    found->second.next_block = 0;
    view_.set_producer_lost(false);
    if (was_lost && started["resumed"]) broadcast(producer_message("back"));
  }

  // Whether somebody who was heard lately sends a scan.
  bool sending() const { return (!producer_.empty() || detector_sends_) && !quiet_; }

  void hear(const std::string& name, Client& client, double now) {
    client.heard = now;
    if (name != producer_ || !quiet_) return;
    quiet_ = false;
    view_.set_producer_lost(false);
    broadcast(producer_message("back"));
    log_("the sender of the scan '" + series_ + "' is heard again");
  }

  void tell_lost(const std::string& why) {
    view_.set_producer_lost(true);
    broadcast(producer_message("lost"));
    log_("the sender of the scan '" + series_ + "' " + why + "; the scan waits for one that resumes it");
  }

  void drop(const std::string& name, const std::string& why) {
    clients_.erase(name);
    if (name != producer_) return log_("a watching client " + why);
    producer_.clear();
    if (!std::exchange(quiet_, false)) tell_lost(why);
  }

  enum class Sent { yes, full, gone };
  Sent try_to_send(const std::string& name, const std::string& bytes) {
    try {
      if (!router_.send(zmq::buffer(name), zmq::send_flags::sndmore | zmq::send_flags::dontwait))
        return Sent::full;
      router_.send(zmq::buffer(bytes), zmq::send_flags::dontwait);
      return Sent::yes;
    } catch (const zmq::error_t& error) {
      if (error.num() == EHOSTUNREACH) return Sent::gone;
      throw;
    }
  }

  // To one client. What it cannot be told is not lost silently: it is dropped, and hears of that when it
  // speaks again.
  void send(const std::string& name, const json& message) {
    const Sent sent = try_to_send(name, encoded(message));
    if (sent == Sent::yes || !clients_.contains(name)) return;
    drop(name, sent == Sent::full ? "does not read what it is told" : "went away");
  }

  // To all, with a number by which they see what they have not got.
  void broadcast(json message) {
    message["sequence"] = sequence_++;
    const std::string bytes = encoded(message);
    std::vector<std::string> gone;
    for (auto& [name, client] : clients_) {
      if (client.behind) continue;
      const Sent sent = try_to_send(name, bytes);
      if (sent == Sent::full) client.behind = true;
      if (sent == Sent::gone) gone.push_back(name);
    }
    for (const std::string& name : gone)
      if (clients_.contains(name)) drop(name, "went away");
  }

  void show_if_due(const std::string& name, Client& client, double now) {
    if (!client.wants_all || client.being_shown || client.behind || now < client.next_show) return;
    client.wants_all = false;
    client.being_shown = true;
    client.next_show = now + show_seconds;
    work_.show(name);
  }

  void look_after_clients(double now) {
    static const std::string beat = encoded({{"type", "beat"}});
    static const std::string behind = encoded({{"type", "behind"}});
    std::vector<std::pair<std::string, const char*>> lost;
    bool silent = false;
    for (auto& [name, client] : clients_) {
      if (now - client.heard > forgotten_seconds) {
        lost.emplace_back(name, "has been silent for long");
        continue;
      }
      // It may be heard again: a program can be held up.
      if (now - client.heard > lost_seconds && name == producer_ && !quiet_) silent = true;
      if (client.behind && try_to_send(name, behind) == Sent::yes) {
        client.behind = false;
        client.wants_all = true;
      }
      show_if_due(name, client, now);
      if (now - client.beat < beat_seconds - 0.05) continue;
      client.beat = now;
      if (try_to_send(name, beat) == Sent::gone) lost.emplace_back(name, "went away");
    }
    if (silent) {
      quiet_ = true;
      tell_lost("has been silent for 1.5 s");
    }
    for (const auto& [name, why] : lost)
      if (clients_.contains(name)) drop(name, why);
  }

  // Whether a connection has the clients' key (ZeroMQ's RFC 27).
  void answer_gate() {
    std::vector<std::string> parts;
    for (zmq::message_t part;;) {
      if (!gate_.recv(part, zmq::recv_flags::none)) return;
      parts.push_back(part.to_string());
      if (!part.more()) break;
    }
    const bool known = parts.size() == 7 && parts[5] == "CURVE" && parts[6] == client_key_;
    if (!known) log_("a client without the key was turned away");
    const std::string id = parts.size() > 1 ? parts[1] : "";
    const std::array<std::string, 6> answer = {"1.0", id, known ? "200" : "400", known ? "" : "unknown key",
                                               "",    ""};
    for (size_t i = 0; i < answer.size(); ++i)
      gate_.send(zmq::buffer(answer[i]),
                 i + 1 < answer.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
  }

  const ServiceOptions& options_;
  const std::function<void(const std::string&)>& log_;
  LiveView view_;
  zmq::context_t context_;
  zmq::socket_t gate_, router_;
  std::string client_key_;
  Waker waker_;
  std::map<std::string, Client> clients_;  // those that are told what happens, by the router's names
  std::string producer_;                   // that sends the scan; empty: none
  bool detector_sends_ = false;            // the scan; no client does then
  bool quiet_ = false;                     // whether that one has been silent for long
  std::string starting_;                   // the client whose start is being worked on
  std::string series_;                     // that runs; empty: none
  int64_t sequence_ = 0;
  std::unique_ptr<PageServer> page_;
  std::unique_ptr<DetectorFeed> feed_;  // null: no detector
  struct DetectorStart {
    std::string series;
    std::optional<double> rate;
  };
  std::deque<DetectorStart> detector_starts_;  // that are being worked on
  std::string detector_series_;                // whose spectra are taken; empty: none
  bool detector_there_ = false;                // connected
  bool detector_refused_ = false;              // whether it was said that spectra of it are not taken
  std::string detector_failure_;
  ScanWork work_;  // last: its thread uses the others
};

}  // namespace

bool is_local_address(const std::string& address) {
  if (address.starts_with("ipc://") && address.size() > 6) return true;
  const size_t port = address.rfind(':');
  if (!address.starts_with("tcp://") || port == std::string::npos || port < 7 || port + 1 == address.size())
    throw UserError("'" + one_line(address) + "' is no address to listen at; tcp://127.0.0.1:5725, say");
  const std::string host = address.substr(6, port - 6);
  if (host == "localhost" || host == "[::1]") return true;
  std::array<unsigned char, 4> bytes;
  return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 && bytes[0] == 127;
}

void serve(const ServiceOptions& options, LiveScanSource& source,
           const std::function<void(const std::string& line)>& log, const StopToken& stop) {
  Service(options, source, log).run(stop);
}

}  // namespace eelsvae
