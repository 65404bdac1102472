#include "io/run/event_file.h"

#include <algorithm>
#include <cstring>

#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

template <typename T>
T number_at(const std::string& bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <typename T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// The data of a file's records, whose checksums are those that event_record makes.
std::vector<std::string> records_in(const std::string& file) {
  std::vector<std::string> records;
  for (size_t at = 0; at < file.size();) {
    const auto size = number_at<uint64_t>(file, at);
    records.push_back(file.substr(at + 12, size));
    EXPECT_EQ(file.substr(at, size + 16), event_record(records.back()));
    at += size + 16;
  }
  return records;
}

// Field by field as protocol buffers have it: a key of number * 8 + wire type, then the value.
std::string text_field(char key, const std::string& text) {
  return key + std::string(1, static_cast<char>(text.size())) + text;
}
std::string point(const std::string& name, float value) {
  return text_field(0x0a, text_field(0x0a, name) + '\x15' + bytes_of(value));
}

class EventFileTest : public FileTest {
 protected:
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(path("."))) names.push_back(entry.path().string());
    std::sort(names.begin(), names.end());
    return names;
  }
};

TEST(EventRecord, HasTheChecksumsOfCrc32c) {
  // The published check value, and those of RFC 3720, B.4.
  std::string ascending(32, 0);
  for (size_t i = 0; i < ascending.size(); ++i) ascending[i] = static_cast<char>(i);
  for (const auto& [data, checksum] : {std::pair{std::string("123456789"), 0xe3069283u},
                                       {std::string(32, '\0'), 0x8a9136aau},
                                       {std::string(32, '\xff'), 0x62a8ab43u},
                                       {ascending, 0x46dd794eu}}) {
    const std::string record = event_record(data);
    ASSERT_EQ(record.size(), 8 + 4 + data.size() + 4);
    EXPECT_EQ(number_at<uint64_t>(record, 0), data.size());
    EXPECT_EQ(record.substr(12, data.size()), data);
    EXPECT_EQ(number_at<uint32_t>(record, 12 + data.size()),
              ((checksum >> 15) | (checksum << 17)) + 0xa282ead8)
        << "TensorFlow's mask";
  }
  EXPECT_EQ(number_at<uint32_t>(event_record("123456789"), 8), 0x3971f937u) << "of a length of 9, by ISA-L";
}

TEST_F(EventFileTest, HoldsPointsOfCurves) {
  EventFile events(path("."));
  EXPECT_EQ(files_in_folder(), 0u) << "nothing to tell yet";
  events.add(4, {{"loss/training", 0.5}, {"rate", 1e-4}});
  events.add(5, {{"loss/training", 0.25}});
  ASSERT_EQ(files_in_folder(), 1u);
  EXPECT_TRUE(EventFile::is_one(files()[0]));
  EXPECT_TRUE(files()[0].ends_with(".eelsvae"));
  EXPECT_FALSE(EventFile::is_one("run/metrics.jsonl"));

  const std::vector<std::string> records = records_in(read_bytes(files()[0]));
  ASSERT_EQ(records.size(), 4u);
  double time = 1.6e9;
  for (const std::string& record : records) {
    EXPECT_EQ(record[0], '\x09');
    EXPECT_GE(number_at<double>(record, 1), time) << "seconds since 1970, rising";
    time = number_at<double>(record, 1);
  }
  EXPECT_EQ(records[0].substr(9), text_field(0x1a, "brain.Event:2"));
  EXPECT_EQ(records[1].substr(9), std::string("\x10\x04\x3a\x02\x08\x01", 6))
      << "only what came before 4 counts";
  EXPECT_EQ(records[2].substr(9),
            "\x10\x04" + text_field(0x2a, point("loss/training", 0.5f) + point("rate", 1e-4f)));
  EXPECT_EQ(records[3].substr(9), "\x10\x05" + text_field(0x2a, point("loss/training", 0.25f)));
}

TEST_F(EventFileTest, LargeNumbersTakeSeveralBytes) {
  EventFile(path(".")).add(300, {{std::string(200, 'x'), 1.0}});
  EXPECT_EQ(records_in(read_bytes(files()[0]))[2].substr(9),
            std::string("\x10\xac\x02\x2a\xd3\x01\x0a\xd0\x01\x0a\xc8\x01") + std::string(200, 'x') + '\x15' +
                bytes_of(1.0f));
}

TEST_F(EventFileTest, ARunThatGoesOnWritesAFileOfItsOwn) {
  for (int run = 0; run < 3; ++run) EventFile(path(".")).add(run, {{"loss", 1.0}});
  ASSERT_EQ(files_in_folder(), 3u) << "within a second, too";
  for (const std::string& file : files()) EXPECT_EQ(records_in(read_bytes(file)).size(), 3u);
  EXPECT_EQ(records_in(read_bytes(files()[2]))[2].substr(9, 2), "\x10\x02") << "in the order of their names";
}

TEST_F(EventFileTest, AFullDiskIsSaidAndLeavesWholeRecords) {
  EventFile events(path("."));
  events.add(1, {{"loss", 1.0}});
  const std::string before = read_bytes(files()[0]);
  {
    const FullDisk full(before.size() + 10);
    EXPECT_NE(user_error([&] {
                events.add(2, {{"loss", 1.0}});
              }).find("cannot write " + path("./events.out")),
              std::string::npos);
  }
  EXPECT_EQ(read_bytes(files()[0]), before);
  events.add(2, {{"loss", 1.0}});
  EXPECT_EQ(records_in(read_bytes(files()[0])).size(), 4u);
}

}  // namespace
}  // namespace eelsvae
