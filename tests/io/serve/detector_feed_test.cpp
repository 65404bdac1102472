#include "io/serve/detector_feed.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "kernels/error.h"
#include "tests/io/simplon/detector_messages.h"
#include "tests/io/simplon/peer.h"

namespace eelsvae {
namespace {

using Feed = DetectorFeed;

const std::vector<uint16_t> pixels = {1, 2, 3, 10, 20, 30};  // (2, 3)

Bytes start(uint64_t series) {
  return start_message(series, {{"image_size_x", cbor(3)},
                                {"image_size_y", cbor(2)},
                                {"number_of_images", cbor(10)},
                                {"frame_time", cbor_number(0.25)}});
}

Bytes image(uint64_t series, uint64_t index) {
  return image_message(series, index, image_array(2, 3, 69, cbor_bytes(bytes_of(pixels))));
}

class DetectorFeedTest : public testing::Test {
 protected:
  DetectorFeedTest() {
    options.endpoint = detector.bind();
    options.scan.shape = {2, 5};
    options.scan.energy_offset = 100;
    options.scan.dispersion = 0.5;
  }

  // Fetches events until there are so many of a kind, then all of it.
  template <class Kind>
  std::vector<Kind> until(Feed& feed, size_t count) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (all<Kind>().size() < count && std::chrono::steady_clock::now() < end) {
      for (Feed::Event& event : feed.events()) events.push_back(std::move(event));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    EXPECT_GE(all<Kind>().size(), count);
    return all<Kind>();
  }
  template <class Kind>
  std::vector<Kind> all() const {
    std::vector<Kind> found;
    for (const Feed::Event& event : events)
      if (const Kind* one = std::get_if<Kind>(&event)) found.push_back(*one);
    return found;
  }
  bool said(const std::string& fragment) const {
    for (const Feed::Said& one : all<Feed::Said>())
      if (one.line.find(fragment) != std::string::npos) return true;
    return false;
  }
  void until_said(Feed& feed, const std::string& fragment) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!said(fragment) && std::chrono::steady_clock::now() < end) {
      for (Feed::Event& event : feed.events()) events.push_back(std::move(event));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    EXPECT_TRUE(said(fragment)) << fragment;
  }

  Peer detector{ZMQ_PUSH};
  ReceiverOptions options;
  std::vector<Feed::Event> events;
};

TEST_F(DetectorFeedTest, GivesScansAsClientsDo) {
  std::atomic<int> woken = 0;
  {
    Feed feed(options, 1 << 20, [&] { ++woken; });
    EXPECT_EQ(feed.forwards(), "");
    for (int time = 0; time < 2; ++time) {
      detector.send(start(7));
      for (uint64_t i = 0; i < 10; ++i) detector.send(image(7, i));
      detector.send(end_message(7));
      until<Feed::End>(feed, static_cast<size_t>(time + 1));
    }
  }
  EXPECT_GE(woken, static_cast<int>(events.size()));  // as its thread has ended
  ASSERT_EQ(all<Feed::Link>().size(), 1u);
  EXPECT_TRUE(all<Feed::Link>()[0].connected);
  const std::vector<Feed::Begin> begun = all<Feed::Begin>();
  ASSERT_EQ(begun.size(), 2u);
  EXPECT_EQ(begun[0].start.plan.height, 2);
  EXPECT_EQ(begun[0].start.plan.width, 5);
  EXPECT_EQ(begun[0].start.plan.energy, (Axis{"Energy loss", "eV", 100, 0.5, 3}));
  EXPECT_EQ(begun[0].start.may_come, 4);
  EXPECT_EQ(begun[0].start.series, "series 7");
  EXPECT_EQ(begun[1].start.series, "series 7 (2)");  // of a detector that was switched off, say
  EXPECT_EQ(all<Feed::End>()[1].end.series, "series 7 (2)");
  int64_t next = 0;
  for (const Feed::Spectra& one : all<Feed::Spectra>()) {
    EXPECT_EQ(one.block.first, next % 10);
    next += one.block.count;
    const std::vector<float> spectra = spectra_of(one.block, ElementType::float32, 3);
    for (size_t i = 0; i < spectra.size(); ++i) EXPECT_EQ(spectra[i], 11 * (static_cast<float>(i % 3) + 1));
  }
  EXPECT_EQ(next, 20);
}

TEST_F(DetectorFeedTest, WhatHasNoRoomToWaitIsLeftOutAndSaid) {
  options.scan.block = 1;
  // For a scan and three blocks of a spectrum.
  Feed feed(options, Feed::scan_bytes + 3 * (Feed::block_bytes + 12), [] {});
  detector.send(start(1));
  for (uint64_t i = 0; i < 6; ++i) detector.send(image(1, i));
  until<Feed::Spectra>(feed, 3);
  until_said(feed, "scoring is too slow");
  detector.send(image(1, 0));  // behind which nothing is on its way
  until_said(feed, "image 0 came again");
  EXPECT_EQ(all<Feed::Spectra>().size(), 3u);
  feed.done_with(Feed::block_bytes + 12);
  for (uint64_t i = 6; i < 10; ++i) detector.send(image(1, i));
  detector.send(end_message(1));
  until<Feed::End>(feed, 1);
  const std::vector<Feed::Spectra> taken = all<Feed::Spectra>();
  ASSERT_EQ(taken.size(), 4u);
  EXPECT_EQ(taken[2].block.first, 2);
  EXPECT_EQ(taken[3].block.first, 6);
  EXPECT_TRUE(said("10 frames came, 6 of them were not scored"));
  // Nor has another scan.
  detector.send(start(2));
  detector.send(end_message(2));
  until_said(feed, "series 2 ended");
  EXPECT_TRUE(said("series 2 is not scored: too many spectra"));
  EXPECT_EQ(all<Feed::Begin>().size(), 1u);
  EXPECT_EQ(all<Feed::End>().size(), 1u);
}

TEST_F(DetectorFeedTest, ScansThatCannotBeAreALine) {
  options.scan.dispersion.reset();
  Feed feed(options, 1 << 20, [] {});
  detector.send(start(1));
  detector.send(image(1, 0));
  detector.send(end_message(1));
  until_said(feed, "series 1 ended");
  EXPECT_TRUE(said("series 1 is not scored: its energies are not known; give --energy-offset"));
  EXPECT_TRUE(all<Feed::Begin>().empty());
  EXPECT_TRUE(all<Feed::Spectra>().empty());
  EXPECT_TRUE(all<Feed::End>().empty());
  options.endpoint = "nowhere";
  EXPECT_THROW(Feed(options, 1 << 20, [] {}), UserError);
}

}  // namespace
}  // namespace eelsvae
