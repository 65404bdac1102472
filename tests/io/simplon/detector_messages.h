#pragma once

#include <lz4.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace eelsvae {

// Messages as a DECTRIS detector sends them, for tests.

using Bytes = std::string;

inline Bytes big_endian(uint64_t value, int bytes) {
  Bytes result;
  for (int i = bytes - 1; i >= 0; --i) result += static_cast<char>(value >> 8 * i & 255);
  return result;
}

// CBOR (RFC 8949).
inline Bytes cbor_head(int major, uint64_t argument) {
  const Bytes first(1, static_cast<char>(major << 5));
  const auto with = [&](int info, int bytes) {
    return Bytes(1, static_cast<char>(major << 5 | info)) + big_endian(argument, bytes);
  };
  if (argument < 24) return Bytes(1, static_cast<char>(major << 5 | static_cast<int>(argument)));
  if (argument < 1 << 8) return with(24, 1);
  if (argument < 1 << 16) return with(25, 2);
  if (argument < uint64_t{1} << 32) return with(26, 4);
  return with(27, 8);
}
inline Bytes cbor(uint64_t value) {
  return cbor_head(0, value);
}
inline Bytes cbor_text(const std::string& text) {
  return cbor_head(3, text.size()) + text;
}
inline Bytes cbor_bytes(const Bytes& bytes) {
  return cbor_head(2, bytes.size()) + bytes;
}
inline Bytes cbor_number(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return "\xfb" + big_endian(bits, 8);
}
inline Bytes cbor_array(const std::vector<Bytes>& items) {
  Bytes result = cbor_head(4, items.size());
  for (const Bytes& item : items) result += item;
  return result;
}
inline Bytes cbor_map(const std::vector<std::pair<std::string, Bytes>>& pairs) {
  Bytes result = cbor_head(5, pairs.size());
  for (const auto& [key, value] : pairs) result += cbor_text(key) + value;
  return result;
}

// Images, rows after rows.
template <class Pixel>
Bytes bytes_of(const std::vector<Pixel>& pixels) {
  return {reinterpret_cast<const char*>(pixels.data()), pixels.size() * sizeof(Pixel)};
}

inline Bytes lz4_block(const Bytes& bytes) {
  Bytes packed(static_cast<size_t>(LZ4_compressBound(static_cast<int>(bytes.size()))), '\0');
  packed.resize(static_cast<size_t>(LZ4_compress_default(
      bytes.data(), packed.data(), static_cast<int>(bytes.size()), static_cast<int>(packed.size()))));
  return packed;
}

// As the LZ4 filter of HDF5 writes them: what LZ4 makes longer stays as it is.
inline Bytes lz4_blocks(const Bytes& bytes, size_t block) {
  Bytes result = big_endian(bytes.size(), 8) + big_endian(block, 4);
  for (size_t i = 0; i < bytes.size(); i += block) {
    const Bytes part = bytes.substr(i, block), packed = lz4_block(part);
    const Bytes& kept = packed.size() < part.size() ? packed : part;
    result += big_endian(kept.size(), 4) + kept;
  }
  return result;
}

// A bit after the other: plane b has the bits b of all elements.
inline Bytes bit_planes(const Bytes& bytes, size_t element) {
  const size_t count = bytes.size() / element;
  Bytes planes(bytes.size(), '\0');
  for (size_t e = 0; e < count; ++e)
    for (size_t b = 0; b < 8 * element; ++b)
      if (bytes[e * element + b / 8] >> (b % 8) & 1)
        planes[b * (count / 8) + e / 8] = static_cast<char>(planes[b * (count / 8) + e / 8] | 1 << (e % 8));
  return planes;
}

// As the bitshuffle filter of HDF5 writes it.
inline Bytes bitshuffle_lz4(const Bytes& bytes, size_t element, size_t block = 8192) {
  Bytes result = big_endian(bytes.size(), 8) + big_endian(block, 4);
  size_t i = 0;
  while (true) {
    const size_t size = std::min(block, bytes.size() - i) / (8 * element) * (8 * element);
    if (size == 0) break;
    const Bytes packed = lz4_block(bit_planes(bytes.substr(i, size), element));
    result += big_endian(packed.size(), 4) + packed;
    i += size;
  }
  return result + bytes.substr(i);
}

// Version 2.
inline Bytes compressed_bytes(const std::string& algorithm, uint64_t element, const Bytes& bytes) {
  return cbor_head(6, 56500) + cbor_array({cbor_text(algorithm), cbor(element), cbor_bytes(bytes)});
}
// `bytes` is a byte string or compressed.
inline Bytes image_array(uint64_t rows, uint64_t columns, uint64_t type_tag, const Bytes& bytes) {
  return cbor_head(6, 40) +
         cbor_array({cbor_array({cbor(rows), cbor(columns)}), cbor_head(6, type_tag) + bytes});
}
inline Bytes start_message(uint64_t series, std::vector<std::pair<std::string, Bytes>> more = {}) {
  more.insert(more.begin(), {{"type", cbor_text("start")}, {"series_id", cbor(series)}});
  return cbor_map(more);
}
inline Bytes image_message(uint64_t series, uint64_t image, const Bytes& array,
                           const std::string& channel = "threshold_1") {
  return cbor_map({{"type", cbor_text("image")},
                   {"series_id", cbor(series)},
                   {"image_id", cbor(image)},
                   {"real_time", cbor_array({cbor(1), cbor(50000000)})},
                   {"data", cbor_map({{channel, array}})}});
}
inline Bytes end_message(uint64_t series) {
  return cbor_map({{"type", cbor_text("end")}, {"series_id", cbor(series)}});
}

// Version 1: the parts of a message.
using PartsOfMessage = std::vector<Bytes>;

inline PartsOfMessage header_parts(uint64_t series, const std::string& detail,
                                   const std::string& configuration = "", const std::string& appendix = "") {
  PartsOfMessage parts = {R"({"htype": "dheader-1.0", "series": )" + std::to_string(series) +
                          R"(, "header_detail": ")" + detail + "\"}"};
  if (!configuration.empty()) parts.push_back(configuration);
  if (!appendix.empty()) parts.push_back(appendix);
  return parts;
}
inline PartsOfMessage image_parts(uint64_t series, uint64_t frame, uint64_t rows, uint64_t columns,
                                  const std::string& type, const std::string& encoding, const Bytes& bytes) {
  return {R"({"htype": "dimage-1.0", "series": )" + std::to_string(series) + R"(, "frame": )" +
              std::to_string(frame) + R"(, "hash": ""})",
          R"({"htype": "dimage_d-1.0", "shape": [)" + std::to_string(columns) + ", " + std::to_string(rows) +
              R"(], "type": ")" + type + R"(", "encoding": ")" + encoding + R"(", "size": )" +
              std::to_string(bytes.size()) + "}",
          bytes, R"({"htype": "dconfig-1.0", "start_time": 1, "stop_time": 2, "real_time": 1})"};
}
inline PartsOfMessage end_parts(uint64_t series) {
  return {R"({"htype": "dseries_end-1.0", "series": )" + std::to_string(series) + "}"};
}

inline std::span<const std::byte> as_bytes(const Bytes& bytes) {
  return std::as_bytes(std::span(bytes.data(), bytes.size()));
}

}  // namespace eelsvae
