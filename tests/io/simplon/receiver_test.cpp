#include "io/simplon/receiver.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <thread>

#include "tests/io/file_test.h"
#include "tests/io/simplon/detector_messages.h"
#include "tests/io/simplon/peer.h"
#include "tests/io/simplon/scans_seen.h"

namespace eelsvae {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

const std::vector<uint16_t> pixels = {1, 2, 3, 10, 20, 30};  // (2, 3)

Bytes image(uint64_t series, uint64_t index) {
  return image_message(series, index, image_array(2, 3, 69, cbor_bytes(bytes_of(pixels))));
}

class SimplonReceiverTest : public FileTest {
 protected:
  SimplonReceiverTest() {
    options.endpoint = detector.bind();
    options.scan.shape = {2, 5};
  }
  SimplonReceiver& start() {
    receiver = std::make_unique<SimplonReceiver>(options, seen);
    return *receiver;
  }
  template <class Condition>
  void receive_until(const Condition& condition) {
    const auto end = steady_clock::now() + std::chrono::seconds(60);
    while (!condition() && steady_clock::now() < end) receiver->receive(milliseconds(20));
    EXPECT_TRUE(condition());
  }
  bool over(size_t scans = 1) const { return seen.scans.size() >= scans && seen.scans[scans - 1].over; }

  Peer detector{ZMQ_PUSH};
  ReceiverOptions options;
  ScansSeen seen;
  std::unique_ptr<SimplonReceiver> receiver;
};

TEST_F(SimplonReceiverTest, BothVersions) {
  start();
  detector.send(start_message(
      1, {{"number_of_images", cbor(10)}, {"image_size_x", cbor(3)}, {"image_size_y", cbor(2)}}));
  for (uint64_t i = 0; i < 10; ++i) detector.send(image(1, i));
  detector.send(end_message(1));
  receive_until([&] { return over(); });
  detector.send(header_parts(2, "none"));
  for (uint64_t i = 0; i < 10; ++i) detector.send(image_parts(2, i, 2, 3, "uint16", "<", bytes_of(pixels)));
  detector.send(end_parts(2));
  receive_until([&] { return over(2); });
  for (const ScansSeen::Scan& scan : seen.scans) {
    EXPECT_TRUE(scan.ended);
    EXPECT_EQ(scan.frames.received, 10);
    for (const auto& spectrum : scan.spectra) EXPECT_EQ(spectrum, (std::vector<float>{11, 22, 33}));
  }
  EXPECT_EQ(receiver->counts().messages, 24);
  EXPECT_EQ(receiver->counts().bad, 0);
  EXPECT_TRUE(receiver->connected());
  EXPECT_EQ(seen.lines, std::vector<std::string>{"connected with the detector at " + options.endpoint});
}

TEST_F(SimplonReceiverTest, ASpectrumWaitsNoLongerThanItMay) {
  options.longest_wait = milliseconds(50);
  start();
  receive_until([&] { return receiver->connected(); });
  detector.send(image(1, 0));
  const auto begin = steady_clock::now();
  receiver->receive(milliseconds(1000), 1);
  receive_until([&] { return !seen.blocks.empty(); });
  EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(10));
  EXPECT_EQ(seen.blocks, (std::vector<std::pair<int64_t, int64_t>>{{0, 1}}));
}

TEST_F(SimplonReceiverTest, TheTimeoutIsKept) {
  start();
  const auto begin = steady_clock::now();
  EXPECT_EQ(receiver->receive(milliseconds(50)), 0);
  EXPECT_GE(steady_clock::now() - begin, milliseconds(50));
  EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST_F(SimplonReceiverTest, OthersGetWhatTheDetectorSent) {
  options.forward_endpoint = "tcp://127.0.0.1:*";
  start();
  Peer next(ZMQ_PULL);
  next.connect(receiver->forward_endpoint());
  receive_until([&] { return seen.reported("a receiver takes the forwarded stream"); });
  std::vector<PartsOfMessage> sent = {header_parts(2, "none")};
  for (uint64_t i = 0; i < 10; ++i) sent.push_back(image_parts(2, i, 2, 3, "uint16", "<", bytes_of(pixels)));
  sent.push_back({"no message", "of a detector"});  // is theirs to judge
  sent.push_back(end_parts(2));
  for (const PartsOfMessage& parts : sent) detector.send(parts);
  receive_until([&] { return over(); });
  for (const PartsOfMessage& parts : sent) EXPECT_EQ(next.receive(), parts);
  EXPECT_EQ(receiver->counts().forwarded, 13);
  EXPECT_EQ(receiver->counts().not_forwarded, 0);
  EXPECT_EQ(receiver->counts().bad, 1);
  EXPECT_EQ(seen.scans[0].frames.bad_messages, 1);
}

TEST_F(SimplonReceiverTest, WhatNobodyTakesIsCountedAndSaidOnceInASeries) {
  options.forward_endpoint = "tcp://127.0.0.1:*";
  start();
  for (uint64_t series = 1; series <= 2; ++series) {
    detector.send(start_message(series, {{"image_size_x", cbor(3)}, {"image_size_y", cbor(2)}}));
    for (uint64_t i = 0; i < 10; ++i) detector.send(image(series, i));
    detector.send(end_message(series));
    receive_until([&] { return over(series); });
  }
  EXPECT_EQ(receiver->counts().forwarded, 0);
  EXPECT_EQ(receiver->counts().not_forwarded, 24);
  std::erase_if(seen.lines, [](const std::string& line) { return line.starts_with("connected"); });
  const auto said = [](const std::string& series) {
    return series + ": nobody takes the forwarded stream, or not fast enough: messages are not forwarded";
  };
  EXPECT_EQ(seen.lines, (std::vector<std::string>{said("series 1"), "series 1: 12 messages not forwarded",
                                                  said("series 2"), "series 2: 12 messages not forwarded"}));
  for (const ScansSeen::Scan& scan : seen.scans) {
    EXPECT_EQ(scan.frames.received, 10);
    EXPECT_EQ(scan.frames.not_forwarded, 12);
  }
}

// As a full queue drains, messages go out in between.
TEST_F(SimplonReceiverTest, AReceiverThatIsTooSlowIsSaidOnce) {
  options.forward_endpoint = "tcp://127.0.0.1:*";
  options.forward_queue = 1;
  options.scan.shape = {1, 4000};
  start();
  Peer next(ZMQ_PULL, 1);
  next.connect(receiver->forward_endpoint());
  receive_until([&] { return seen.reported("a receiver takes the forwarded stream"); });
  std::vector<uint16_t> large(1 << 19, 1);
  const Bytes bytes = cbor_bytes(bytes_of(large));
  uint64_t sent = 0;
  for (int time = 0; time < 2; ++time) {
    const int64_t before = receiver->counts().not_forwarded;
    while (receiver->counts().not_forwarded == before && sent < 1000) {
      detector.send(image_message(1, sent++, image_array(1 << 9, 1 << 10, 69, bytes)));
      receive_until([&] { return receiver->counts().messages == static_cast<int64_t>(sent); });
    }
    const int64_t forwarded = receiver->counts().forwarded;
    while (receiver->counts().forwarded == forwarded && sent < 1000) {
      next.receive();
      detector.send(image(1, sent++));
      receive_until([&] { return receiver->counts().messages == static_cast<int64_t>(sent); });
    }
  }
  detector.send(end_message(1));
  receive_until([&] { return over(); });
  EXPECT_EQ(
      std::ranges::count_if(
          seen.lines, [](const std::string& line) { return line.find("nobody takes") != std::string::npos; }),
      1);
  EXPECT_EQ(seen.scans[0].frames.not_forwarded, receiver->counts().not_forwarded);
  EXPECT_GE(receiver->counts().not_forwarded, 2);
}

// What does not wait here waits in the network's buffers, some MiB, and then at the detector.
TEST_F(SimplonReceiverTest, LargeMessagesWaitInNoMoreMemoryThanTheyMay) {
  Peer camera(ZMQ_PUSH, 1);
  options.endpoint = camera.bind();
  options.queue_memory = 8 << 20;
  options.scan.shape = {1, 4000};
  start();
  const std::vector<uint16_t> large(1 << 19, 1);
  const Bytes message = image_message(1, 0, image_array(1 << 9, 1 << 10, 69, cbor_bytes(bytes_of(large))));
  camera.send(start_message(1, {{"flatfield", cbor_bytes(Bytes(16 << 20, 'x'))}}));
  camera.send(image(1, 1));
  receive_until([&] { return receiver->counts().messages == 2; });
  EXPECT_FALSE(seen.reported("may wait"));  // a start is large, but comes once
  camera.send(message);
  receive_until([&] { return receiver->counts().messages == 3; });
  EXPECT_TRUE(seen.reported("images have 1 MiB: 7 of them may wait, in 8 MiB"));
  int waiting = 0;
  for (int refused = 0; refused < 100 && waiting < 200;) {
    if (camera.send_now(message)) {
      ++waiting;
      refused = 0;
    } else {
      ++refused;
      std::this_thread::sleep_for(milliseconds(5));
    }
  }
  EXPECT_GE(waiting, 7);
  EXPECT_LT(waiting, 100);
  std::printf("%d messages of 1 MiB found room\n", waiting);
  receive_until([&] { return receiver->counts().messages == 3 + waiting; });
}

// Messages that come without a pause, slower to work on than to send.
TEST_F(SimplonReceiverTest, UnderLoadTheTimeoutIsKeptAndConnectionsAreNoticed) {
  options.scan.shape = {1, 400};
  options.scan.block = 1;
  start();
  seen.on_spectra = [] { std::this_thread::sleep_for(milliseconds(5)); };
  for (uint64_t i = 0; i < 400; ++i) detector.send(image(1, i));
  EXPECT_LT(receiver->receive(milliseconds(50)), 400);
  receiver->receive(std::chrono::minutes(1), 150);
  EXPECT_TRUE(receiver->connected());
}

// By a socket in a folder: a port is free for others while no detector is there.
TEST_F(SimplonReceiverTest, ADetectorThatDisappearsIsSaidAndReceivedAgain) {
  auto first = std::make_unique<Peer>(ZMQ_PUSH);
  options.endpoint = first->bind("ipc://" + path("detector"));
  start();
  receive_until([&] { return receiver->connected(); });
  for (uint64_t i = 0; i < 3; ++i) first->send(image(1, i));
  receive_until([&] { return receiver->frames().received == 3; });
  first.reset();
  receive_until([&] { return !receiver->connected(); });
  EXPECT_TRUE(seen.reported("broke; waiting for it"));
  EXPECT_TRUE(receiver->scan_running());
  Peer second(ZMQ_PUSH);
  second.bind(options.endpoint);
  receive_until([&] { return receiver->connected(); });
  for (uint64_t i = 6; i < 10; ++i) second.send(image(1, i));
  second.send(end_message(1));
  receive_until([&] { return over(); });
  EXPECT_EQ(seen.scans[0].frames.received, 7);
  EXPECT_EQ(seen.scans[0].frames.lost, 3);
}

TEST_F(SimplonReceiverTest, StopEndsTheScan) {
  options.longest_wait = std::chrono::seconds(10);
  start();
  detector.send(image(1, 0));
  receive_until([&] { return receiver->counts().messages == 1; });
  receiver->stop();
  EXPECT_TRUE(over());
  EXPECT_FALSE(seen.scans[0].ended);
  EXPECT_EQ(seen.scans[0].frames.not_sent, 9);
  EXPECT_FALSE(seen.scans[0].spectra[0].empty());
}

TEST_F(SimplonReceiverTest, AnExceptionOfTheSinkComesOut) {
  options.scan.block = 1;
  start();
  seen.on_spectra = [] { throw UserError("enough"); };
  for (uint64_t i = 0; i < 3; ++i) detector.send(image_parts(1, i, 2, 3, "uint16", "<", bytes_of(pixels)));
  detector.send(end_parts(1));
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(user_error([&] { receiver->receive(milliseconds(5000), 1); }), "enough");
  receive_until([&] { return over(); });
  EXPECT_EQ(seen.scans[0].frames.received, 3);
  EXPECT_EQ(receiver->counts().bad, 0);
}

TEST_F(SimplonReceiverTest, AddressesThatCannotBeAreRefused) {
  const auto refusal = [&](const std::string& endpoint, const std::string& forward) {
    options.endpoint = endpoint, options.forward_endpoint = forward;
    return user_error([&] { start(); });
  };
  EXPECT_EQ(refusal("dectris", ""),
            "'dectris' is no address of a detector: Invalid argument; give one such as tcp://HOST:31001");
  EXPECT_NE(refusal("", ""), "");
  EXPECT_NE(refusal("tcp://127.0.0.1:9", "here"), "");
  Peer other(ZMQ_PUSH);
  EXPECT_NE(refusal("tcp://127.0.0.1:9", other.bind()).find("that is free"), std::string::npos);
}

}  // namespace
}  // namespace eelsvae
