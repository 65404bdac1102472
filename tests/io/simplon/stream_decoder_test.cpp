#include "io/simplon/stream_decoder.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <random>

#include "tests/io/file_test.h"
#include "tests/io/simplon/detector_messages.h"

namespace eelsvae {
namespace {

using nlohmann::json;

class Seen final : public SeriesEvents {
 public:
  void start(const SeriesStart& series) override {
    starts.push_back(series);
    order += 's';
  }
  void image(const SeriesImage& image) override {
    images.push_back(image);
    spectra.emplace_back(image.spectrum.begin(), image.spectrum.end());
    order += 'i';
  }
  void end(uint64_t series) override {
    ends.push_back(series);
    order += 'e';
  }

  std::string order;
  std::vector<SeriesStart> starts;
  std::vector<SeriesImage> images;  // not their spectra
  std::vector<std::vector<float>> spectra;
  std::vector<uint64_t> ends;
};

class StreamDecoderTest : public testing::Test {
 protected:
  void take(const PartsOfMessage& parts) {
    for (size_t i = 0; i < parts.size(); ++i) decoder.take(as_bytes(parts[i]), i + 1 == parts.size(), seen);
  }
  void take(const Bytes& message) { take(PartsOfMessage{message}); }
  std::string refusal(const PartsOfMessage& parts) {
    std::string error;
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::string said =
          user_error([&] { decoder.take(as_bytes(parts[i]), i + 1 == parts.size(), seen); });
      if (error.empty()) error = said;
    }
    return error;
  }
  std::string refusal(const Bytes& message) { return refusal(PartsOfMessage{message}); }

  StreamDecoder decoder{FrameOptions{}};
  Seen seen;
};

// (2, 3): sums 11, 22, 33.
const std::vector<uint16_t> small = {1, 2, 3, 10, 20, 30};
const std::vector<float> small_sums = {11, 22, 33};
const std::string configuration =
    R"({"x_pixels_in_detector": 3, "y_pixels_in_detector": 2, "bit_depth_image": 16, "frame_time": 0.001,
        "nimages": 5, "ntrigger": 2, "trigger_mode": "exts", "beam_center_x": NaN})";

Bytes small_image(uint64_t series, uint64_t image) {
  return image_message(series, image, image_array(2, 3, 69, cbor_bytes(bytes_of(small))));
}

TEST_F(StreamDecoderTest, Version2) {
  take(start_message(
      7, {{"series_unique_id", cbor_text("01HB")},
          {"arm_date", cbor_head(6, 0) + cbor_text("2023-10-03T17:47:48.329+02:00")},
          {"channels", cbor_array({cbor_text("threshold_1"), cbor_text("threshold_2")})},
          {"frame_time", cbor_number(0.001)},
          {"image_dtype", cbor_text("uint16")},
          {"image_size_x", cbor(3)},
          {"image_size_y", cbor(2)},
          {"number_of_images", cbor(100)},
          {"flatfield", cbor_map({{"threshold_1", image_array(2, 3, 85, cbor_bytes(Bytes(24, 'x')))}})},
          {"user_data", cbor_map({{"scan_shape", cbor_array({cbor(10), cbor(10)})}})}}));
  ASSERT_EQ(seen.starts.size(), 1u);
  const SeriesStart& start = seen.starts[0];
  EXPECT_EQ(start.series, 7u);
  EXPECT_EQ(start.images, 100);
  EXPECT_EQ(start.rows, 2);
  EXPECT_EQ(start.columns, 3);
  EXPECT_EQ(start.frame_time, 0.001);
  EXPECT_EQ(start.user_data, json::parse(R"({"scan_shape": [10, 10]})"));

  const Bytes bytes = bytes_of(small);
  for (const auto& [index, packed] :
       std::vector<std::pair<uint64_t, Bytes>>{{0, cbor_bytes(bytes)},
                                               {1, compressed_bytes("lz4", 0, lz4_blocks(bytes, 1 << 20))},
                                               {2, compressed_bytes("bslz4", 2, bitshuffle_lz4(bytes, 2))}}) {
    take(image_message(7, index, image_array(2, 3, 69, packed)));
    EXPECT_EQ(seen.images.back().series, 7u);
    EXPECT_EQ(seen.images.back().index, static_cast<int64_t>(index));
    EXPECT_EQ(seen.images.back().columns, 3);
    EXPECT_EQ(seen.spectra.back(), small_sums);
  }
  take(end_message(7));
  EXPECT_EQ(seen.order, "siiie");
  EXPECT_EQ(seen.ends, std::vector<uint64_t>{7});
}

TEST_F(StreamDecoderTest, Version2TypesOfNumbers) {
  const auto sums_of = [&](uint64_t tag, const Bytes& bytes) {
    take(image_message(1, 0, image_array(2, 3, tag, cbor_bytes(bytes))));
    return seen.spectra.back();
  };
  EXPECT_EQ(sums_of(64, bytes_of(std::vector<uint8_t>(small.begin(), small.end()))), small_sums);
  EXPECT_EQ(sums_of(68, bytes_of(std::vector<uint8_t>(small.begin(), small.end()))), small_sums);
  EXPECT_EQ(sums_of(70, bytes_of(std::vector<uint32_t>(small.begin(), small.end()))), small_sums);
  Bytes two, four;
  for (const uint16_t pixel : small) two += big_endian(pixel, 2), four += big_endian(pixel, 4);
  EXPECT_EQ(sums_of(65, two), small_sums);
  EXPECT_EQ(sums_of(66, four), small_sums);
  EXPECT_EQ(refusal(image_message(1, 0, image_array(2, 3, 85, cbor_bytes(Bytes(24, '\0'))))),
            "an image of numbers with CBOR tag 85; unsigned integers of 8, 16 and 32 bits are taken");
}

TEST_F(StreamDecoderTest, Version2Channels) {
  const Bytes first = image_array(2, 3, 69, cbor_bytes(bytes_of(small)));
  const Bytes second = image_array(1, 3, 69, cbor_bytes(bytes_of(std::vector<uint16_t>{7, 8, 9})));
  const Bytes message = cbor_map({{"data", cbor_map({{"a", first}, {"b", second}})},
                                  {"series_id", cbor(1)},
                                  {"image_id", cbor(3)},
                                  {"type", cbor_text("image")}});
  take(message);  // no start was seen: the first
  EXPECT_EQ(seen.spectra.back(), small_sums);
  take(start_message(1, {{"channels", cbor_array({cbor_text("b"), cbor_text("a")})}}));
  take(message);
  EXPECT_EQ(seen.spectra.back(), (std::vector<float>{7, 8, 9}));
  FrameOptions options;
  options.channel = "a";
  decoder = StreamDecoder(options);
  take(message);
  EXPECT_EQ(seen.spectra.back(), small_sums);
  options.channel = "difference";
  decoder = StreamDecoder(options);
  EXPECT_EQ(refusal(message), "an image without the channel 'difference'; it has: a, b");
}

TEST_F(StreamDecoderTest, Version2InPiecesOfUnknownLength) {
  // Maps and arrays that end with a break, a text in pieces among what nobody asks for, the tag of CBOR
  // itself.
  const Bytes array = cbor_head(6, 40) + "\x9f" + cbor_array({cbor(2), cbor(3)}) + cbor_head(6, 69) +
                      cbor_bytes(bytes_of(small)) + "\xff";
  take("\xd9\xd9\xf7\xbf" + cbor_text("type") + cbor_text("image") + cbor_text("series_id") + cbor(1) +
       cbor_text("other") + "\x7f" + cbor_text("ab") + cbor_text("c") + "\xff" + cbor_text("image_id") +
       cbor(0) + cbor_text("user_data") + "\xf6" + cbor_text("data") + "\xbf" + cbor_text("t") + array +
       "\xff\xff");
  EXPECT_EQ(seen.spectra.back(), small_sums);
}

TEST_F(StreamDecoderTest, Version2WhatIsWrongIsSaid) {
  EXPECT_EQ(refusal(cbor_map({{"type", cbor_text("begin")}})), "a CBOR message of type 'begin'");
  EXPECT_EQ(refusal(cbor_map({{"series_id", cbor(1)}})), "a CBOR message: type is missing");
  EXPECT_EQ(refusal(cbor_map({{"type", cbor_text("end")}})), "a CBOR message: series_id is missing");
  EXPECT_EQ(refusal(end_message(1) + "x"), "a CBOR message: something follows the map (byte 21)");
  EXPECT_EQ(refusal(image_message(1, uint64_t{1} << 60, cbor(1))),
            "image_id is 1152921504606846976; 0 to 9007199254740992 is taken");
  EXPECT_EQ(refusal(image_message(1, 1, image_array(2, 3, 69, compressed_bytes("bszstd", 2, "x")))),
            "an image compressed by 'bszstd', element size 2; set the detector's compression to bslz4, lz4 "
            "or none");
  EXPECT_EQ(refusal(image_message(1, 1, image_array(2, 3, 69, cbor_bytes("x")))),
            "an image of 1 bytes; its size says 12");
  EXPECT_NE(refusal(image_message(1, 1, cbor(5))), "");
  EXPECT_NE(refusal(cbor_head(5, ~uint64_t{0})), "");  // more pairs than bytes
  EXPECT_NE(refusal("\xa1" + cbor_text("a") + cbor_head(2, ~uint64_t{0})),
            "");                                                            // a string longer than memory
  EXPECT_NE(refusal("\xa1" + cbor_text("a") + Bytes(100000, '\x9f')), "");  // arrays in arrays
  EXPECT_NE(refusal("\xa1" + cbor_text("a") + Bytes(100000, '\xc1')), "");  // tags of tags
  EXPECT_NE(refusal(start_message(1, {{"user_data", cbor_text(Bytes(300000, 'a'))}})), "");
  EXPECT_NE(refusal(Bytes()), "");
  EXPECT_NE(refusal("GET / HTTP/1.1"), "");
  EXPECT_EQ(seen.order, "");
  // What comes behind it is taken.
  take(small_image(1, 0));
  EXPECT_EQ(seen.spectra.back(), small_sums);
}

TEST_F(StreamDecoderTest, Version1) {
  const std::string tables = R"({"htype": "dflatfield-1.0", "shape": [3, 2], "type": "float32"})";
  PartsOfMessage header = header_parts(34, "all", configuration);
  header.insert(header.end(), {tables, Bytes(24, '{'), R"({"scan_shape": [2, 5]})"});
  take(header);
  ASSERT_EQ(seen.order, "s");
  const SeriesStart& start = seen.starts[0];
  EXPECT_EQ(start.series, 34u);
  EXPECT_EQ(start.images, 10);
  EXPECT_EQ(start.rows, 2);
  EXPECT_EQ(start.columns, 3);
  EXPECT_EQ(start.frame_time, 0.001);
  EXPECT_EQ(start.user_data, json(R"({"scan_shape": [2, 5]})"));

  const Bytes bytes = bytes_of(small), four = bytes_of(std::vector<uint32_t>(small.begin(), small.end()));
  const Bytes one = bytes_of(std::vector<uint8_t>(small.begin(), small.end()));
  for (const auto& [type, encoding, packed] :
       std::vector<std::array<Bytes, 3>>{{"uint16", "<", bytes},
                                         {"uint16", "", bytes},
                                         {"uint16", "lz4<", lz4_block(bytes)},
                                         {"uint16", "bs16-lz4<", bitshuffle_lz4(bytes, 2)},
                                         {"uint8", "bs8-lz4<", bitshuffle_lz4(one, 1)},
                                         {"uint32", "bs32-lz4<", bitshuffle_lz4(four, 4)},
                                         {"uint32", "lz4<", lz4_block(four)}}) {
    PartsOfMessage image = image_parts(34, 9, 2, 3, type, encoding, packed);
    image.push_back("an image_appendix");
    take(image);
    EXPECT_EQ(seen.images.back().index, 9);
    EXPECT_EQ(seen.images.back().rows, 2);
    EXPECT_EQ(seen.spectra.back(), small_sums) << type << " " << encoding;
  }
  take(end_parts(34));
  EXPECT_EQ(seen.order, "siiiiiiie");
}

TEST_F(StreamDecoderTest, Version1HoweverTheDescriptionsArePacked) {
  // The configuration as a message of its own, as LiberTEM-live's simulator sends it.
  take(header_parts(1, "basic"));
  EXPECT_EQ(seen.order, "");
  take(configuration);
  EXPECT_EQ(seen.order, "s");
  EXPECT_EQ(seen.starts[0].images, 10);
  // Everything in one message, as Diamond's may.
  PartsOfMessage all = header_parts(2, "basic", configuration);
  for (const PartsOfMessage& parts : {image_parts(2, 0, 2, 3, "uint16", "<", bytes_of(small)), end_parts(2)})
    all.insert(all.end(), parts.begin(), parts.end());
  take(all);
  EXPECT_EQ(seen.order, "ssie");
  // No configuration at all.
  take(header_parts(3, "none"));
  EXPECT_EQ(seen.order, "ssies");
  EXPECT_FALSE(seen.starts[2].images || seen.starts[2].rows);
  // One that was lost.
  take(header_parts(4, "basic"));
  take(image_parts(4, 0, 2, 3, "uint16", "<", bytes_of(small)));
  EXPECT_EQ(seen.order, "ssiessi");
  EXPECT_EQ(seen.starts[3].series, 4u);
  // An appendix that is no JSON, and one that is no text.
  take(header_parts(5, "basic", configuration, "film 3"));
  EXPECT_EQ(seen.starts[4].user_data, json("film 3"));
  take(header_parts(6, "basic", configuration, "\xff\x01{"));
  EXPECT_EQ(seen.starts[5].series, 6u);
}

TEST_F(StreamDecoderTest, Version1WhatIsWrongIsSaid) {
  const Bytes bytes = bytes_of(small);
  EXPECT_EQ(refusal(image_parts(1, 0, 2, 3, "int16", "<", bytes)),
            "an image of type 'int16'; uint8, uint16 and uint32 are taken");
  EXPECT_EQ(refusal(image_parts(1, 0, 2, 3, "uint16", "bs16-zstd<", bytes)),
            "an image in the encoding 'bs16-zstd<'; set the detector's compression to bslz4, lz4 or none");
  EXPECT_EQ(refusal(image_parts(1, 0, 2, 4, "uint16", "<", bytes)), "an image of 12 bytes; its size says 16");
  PartsOfMessage cut = image_parts(1, 0, 2, 3, "uint16", "<", bytes);
  cut.resize(2);
  EXPECT_EQ(refusal(cut), "a message that ends before the bytes that it describes");
  EXPECT_EQ(refusal(Bytes(R"({"htype": "dimage-1.0", "series": -1, "frame": 0})")),
            "series is -1, not a whole number up to 9007199254740992");
  EXPECT_EQ(refusal(Bytes(R"({"htype": "dimage-1.0", "series": 1})")), "dimage-1.0 without frame");
  EXPECT_EQ(refusal(Bytes(R"({"series": 1})")), "a description without htype");
  EXPECT_EQ(refusal(Bytes("{")), "a part of a message: not a JSON object");
  EXPECT_NE(refusal("{\"a\": " + Bytes(5000, '[')), "");
  EXPECT_NE(refusal("{" + Bytes(300000, ' ') + "}"), "");
  EXPECT_NE(refusal({image_parts(1, 0, 2, 3, "uint16", "<", bytes)[0], bytes}), "");
  EXPECT_EQ(seen.order, "");
  take(image_parts(1, 5, 2, 3, "uint16", "<", bytes));
  EXPECT_EQ(seen.spectra.back(), small_sums);
}

TEST_F(StreamDecoderTest, CutOrDamagedNeverMoreThanRefused) {
  std::vector<PartsOfMessage> messages = {
      header_parts(1, "basic", configuration, R"({"scan_shape": [2, 5]})"),
      image_parts(1, 0, 2, 3, "uint16", "bs16-lz4<", bitshuffle_lz4(bytes_of(small), 2)),
      end_parts(1),
      {start_message(
          1, {{"user_data", cbor_map({{"a", cbor_number(1)}})}, {"channels", cbor_array({cbor_text("a")})}})},
      {image_message(
          1, 0, image_array(2, 3, 69, compressed_bytes("bslz4", 2, bitshuffle_lz4(bytes_of(small), 2))))},
      {end_message(1)}};
  // A CBOR message that is cut is none.
  for (size_t m = 3; m < messages.size(); ++m)
    for (size_t size = 0; size < messages[m][0].size(); ++size)
      EXPECT_NE(refusal(messages[m][0].substr(0, size)), "") << m << " " << size;
  std::mt19937 random(2);
  for (int i = 0; i < 20000; ++i) {
    PartsOfMessage damaged = messages[random() % messages.size()];
    Bytes& part = damaged[random() % damaged.size()];
    for (int changes = 0; changes < 2; ++changes) part[random() % part.size()] = static_cast<char>(random());
    EXPECT_LT(refusal(damaged).size(), 400u);
  }
}

// What the receiver's single thread does for an image, from the message's bytes to the spectrum.
TEST(StreamDecoder, ImagesPerSecond) {
  constexpr int64_t rows = 512, columns = 1028;
  std::mt19937 random(1);
  std::poisson_distribution<int> counts(3);
  std::vector<uint16_t> pixels(rows * columns);
  for (uint16_t& pixel : pixels) pixel = static_cast<uint16_t>(counts(random));
  const Bytes bytes = bytes_of(pixels);
  const std::vector<std::pair<const char*, PartsOfMessage>> messages = {
      {"version 2, none", {image_message(1, 0, image_array(rows, columns, 69, cbor_bytes(bytes)))}},
      {"version 2, lz4",
       {image_message(
           1, 0, image_array(rows, columns, 69, compressed_bytes("lz4", 0, lz4_blocks(bytes, 1 << 30))))}},
      {"version 2, bslz4",
       {image_message(
           1, 0, image_array(rows, columns, 69, compressed_bytes("bslz4", 2, bitshuffle_lz4(bytes, 2))))}},
      {"version 1, lz4", image_parts(1, 0, rows, columns, "uint16", "lz4<", lz4_block(bytes))},
      {"version 1, bs16-lz4",
       image_parts(1, 0, rows, columns, "uint16", "bs16-lz4<", bitshuffle_lz4(bytes, 2))}};
  for (const auto& [name, parts] : messages) {
    StreamDecoder decoder{FrameOptions{}};
    Seen seen;
    size_t size = 0;
    for (const Bytes& part : parts) size += part.size();
    std::vector<double> seconds;
    for (int i = 0; i < 60; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      for (size_t p = 0; p < parts.size(); ++p) decoder.take(as_bytes(parts[p]), p + 1 == parts.size(), seen);
      seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    std::sort(seconds.begin(), seconds.end());
    std::printf("512 x 1028 x 16 bits, %-20s %7zu bytes: median %.0f us, longest %.0f us: %.0f images/s\n",
                name, size, 1e6 * seconds[30], 1e6 * seconds.back(), 1 / seconds[30]);
    EXPECT_EQ(seen.spectra.back(), seen.spectra.front());
    double total = 0;
    for (const float value : seen.spectra.back()) total += value;
    EXPECT_EQ(total, std::accumulate(pixels.begin(), pixels.end(), 0.0)) << name;
  }
}

}  // namespace
}  // namespace eelsvae
