#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

namespace eelsvae {

// A member of an archive that zip_file() writes. What is not overridden is right.
struct ZipFileMember {
  std::string name, content;
  bool deflated = false;
  bool zip64 = false;  // sizes and places in 64-bit fields
  uint16_t flags = 0;  // 1: encrypted
  int method = -1;     // instead of 0 or 8
  int64_t size = -1;   // unpacked bytes that the headers state
  bool wrong_crc = false;
};

inline std::string deflated(const std::string& content) {
  z_stream stream = {};
  deflateInit2(&stream, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

// A zip archive's bytes, put together by hand so that any of them can be wrong (APPNOTE.TXT 6.3.10).
inline std::string zip_file(const std::vector<ZipFileMember>& members) {
  const auto little = [](uint64_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * i & 255);
    return text;
  };
  std::string file, directory;
  bool any64 = false;
  for (const ZipFileMember& m : members) {
    const std::string packed = m.deflated ? deflated(m.content) : m.content;
    const uint64_t size = m.size < 0 ? m.content.size() : static_cast<uint64_t>(m.size);
    const uint64_t crc =
        crc32(0, reinterpret_cast<const Bytef*>(m.content.data()), static_cast<uInt>(m.content.size())) ^
        (m.wrong_crc ? 1 : 0);
    const std::string method =
        little(static_cast<uint64_t>(m.method < 0 ? (m.deflated ? 8 : 0) : m.method), 2);
    const std::string extra64 = little(1, 2) + little(16, 2) + little(size, 8) + little(packed.size(), 8);
    const std::string place64 =
        little(1, 2) + little(24, 2) + little(size, 8) + little(packed.size(), 8) + little(file.size(), 8);
    const std::string sizes = m.zip64 ? std::string(8, '\xff') : little(packed.size(), 4) + little(size, 4);
    // Version, flags, method, time, date, checksum, sizes, length of the name.
    const std::string common = little(m.zip64 ? 45 : 20, 2) + little(m.flags, 2) + method + little(0, 2) +
                               little(0x21, 2) + little(crc, 4) + sizes + little(m.name.size(), 2);
    directory += "PK\x01\x02" + little(45, 2) + common + little(m.zip64 ? place64.size() : 0, 2) +
                 little(0, 2) + little(0, 2) + little(0, 2) + little(0, 4) +
                 (m.zip64 ? std::string(4, '\xff') : little(file.size(), 4)) + m.name +
                 (m.zip64 ? place64 : "");
    file += "PK\x03\x04" + common + little(m.zip64 ? extra64.size() : 0, 2) + m.name +
            (m.zip64 ? extra64 : "") + packed;
    any64 |= m.zip64;
  }
  const uint64_t begin = file.size(), count = members.size();
  file += directory;
  if (any64) {
    const uint64_t end64 = file.size();
    file += "PK\x06\x06" + little(44, 8) + little(45, 2) + little(45, 2) + little(0, 4) + little(0, 4) +
            little(count, 8) + little(count, 8) + little(directory.size(), 8) + little(begin, 8);
    file += "PK\x06\x07" + little(0, 4) + little(end64, 8) + little(1, 4);
  }
  return file + "PK\x05\x06" + little(0, 4) +
         (any64 ? std::string(12, '\xff')
                : little(count, 2) + little(count, 2) + little(directory.size(), 4) + little(begin, 4)) +
         little(0, 2);
}

// A .npy file of version 1.
inline std::string npy_file(const std::string& descr, const std::string& shape, const std::string& data,
                            bool fortran_order = false) {
  const std::string header = "{'descr': '" + descr +
                             "', 'fortran_order': " + (fortran_order ? "True" : "False") +
                             ", 'shape': " + shape + ", }\n";
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size() & 255) +
         static_cast<char>(header.size() >> 8) + header + data;
}

template <class T>
std::string raw_bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace eelsvae
