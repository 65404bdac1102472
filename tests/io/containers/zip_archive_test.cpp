#include "io/containers/zip_archive.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/io/containers/zip_file.h"
#include "tests/io/file_test.h"
#include "tests/io/parts.h"

namespace eelsvae {
namespace {

class ZipArchiveTest : public FileTest {
 protected:
  std::shared_ptr<const ZipArchive> open(const std::string& bytes) {
    write_bytes(path("a.zip"), bytes);
    return std::make_shared<const ZipArchive>(std::make_shared<const MappedFile>(path("a.zip")));
  }

  std::string error_of(const std::string& bytes, const std::string& name, size_t limit = 1 << 20) {
    const std::string error = user_error([&] {
      const auto archive = open(bytes);
      ASSERT_NE(archive->find(name), nullptr);
      archive->read(*archive->find(name), limit);
    });
    return error.rfind(path("a.zip") + ": ", 0) == 0 ? error.substr(path("a.zip").size() + 2) : error;
  }
};

std::string text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_F(ZipArchiveTest, ReadsStoredDeflatedAndZip64Members) {
  const std::string long_text = std::string(5000, 'a') + "end";
  for (const bool zip64 : {false, true}) {
    const auto archive = open(zip_file({{"plain", "hello", false, zip64},
                                        {"packed", long_text, true, zip64},
                                        {"empty", "", false, zip64},
                                        {"../../etc/passwd", "a name is only a name", true, zip64}}));
    ASSERT_EQ(archive->members().size(), 4u);
    EXPECT_EQ(text(archive->read(*archive->find("plain"), 5)), "hello");
    EXPECT_EQ(archive->find("packed")->size, long_text.size());
    EXPECT_LT(archive->find("packed")->packed_size, 100u);
    EXPECT_EQ(text(archive->read(*archive->find("packed"), 1 << 20)), long_text);
    EXPECT_EQ(text(archive->read_start(*archive->find("packed"), 10)), std::string(10, 'a'));
    EXPECT_EQ(text(archive->read_start(*archive->find("plain"), 10)), "hello");
    EXPECT_EQ(text(archive->read(*archive->find("empty"), 0)), "");
    EXPECT_EQ(text(archive->read(*archive->find("../../etc/passwd"), 100)), "a name is only a name");
    EXPECT_EQ(archive->find("other"), nullptr);
  }
  EXPECT_EQ(files_in_folder(), 1u) << "only the archive itself";
}

TEST_F(ZipArchiveTest, SaysWhatIsWrongWithAMember) {
  const std::string content(3000, 'x');
  EXPECT_EQ(error_of(zip_file({{"m", content}}), "m", 2999),
            "member 'm' has 3000 bytes, at most 2999 make sense");
  ZipFileMember member{"m", content, true};
  member.wrong_crc = true;
  EXPECT_EQ(error_of(zip_file({member}), "m"), "member 'm' is damaged: CRC error");
  member.deflated = false;
  EXPECT_EQ(error_of(zip_file({member}), "m"), "member 'm' is damaged: CRC error");
  member = {"m", content, true};
  member.flags = 1;
  EXPECT_EQ(error_of(zip_file({member}), "m"), "member 'm' is encrypted, which cannot be read");
  member = {"m", content, true};
  member.method = 14;
  EXPECT_EQ(error_of(zip_file({member}), "m"),
            "member 'm' is compressed by method 14; stored and deflated members can be read");
  EXPECT_EQ(error_of(zip_file({{"m\nn", "a"}, {"m\nn", "b"}}), "m"), "member 'm n' appears twice");
  EXPECT_EQ(error_of("PK\x03\x04", "m").rfind("damaged or cut off zip archive: ", 0), 0u);
}

// A directory that promises more than the data unpack to, or less, is found out; memory is only taken for
// what the packed bytes can hold.
TEST_F(ZipArchiveTest, BelievesSizesOnlyAsFarAsDataCome) {
  ZipFileMember member{"m", std::string(100000, 'x'), true};
  member.size = 100001;
  EXPECT_NE(error_of(zip_file({member}), "m"), "");
  member.size = 99999;
  EXPECT_NE(error_of(zip_file({member}), "m"), "");
  member.size = int64_t{1} << 62;
  member.zip64 = true;
  const std::string packed = std::to_string(deflated(member.content).size());
  EXPECT_EQ(error_of(zip_file({member}), "m", SIZE_MAX),
            "member 'm' is damaged: " + packed +
                " bytes of the archive cannot hold the 4611686018427387904 bytes that its directory states");
  member.deflated = false;
  EXPECT_EQ(
      error_of(zip_file({member}), "m", SIZE_MAX),
      "member 'm' is damaged: 100000 bytes of the archive cannot hold the 4611686018427387904 bytes that "
      "its directory states");
}

TEST_F(ZipArchiveTest, RefusesEveryTruncation) {
  const std::string whole = zip_file({{"plain", std::string(300, 'a')}, {"packed", "abcabcabcabc", true}});
  for (size_t length = 0; length < whole.size(); ++length) {
    ASSERT_NE(error_of(whole.substr(0, length), "plain"), "") << length;
  }
  EXPECT_EQ(error_of(whole, "plain"), "");
}

TEST_F(ZipArchiveTest, EveryDamagedByteIsReadOrRefused) {
  const std::string whole =
      zip_file({{"plain", std::string(50, 'a'), false, true}, {"packed", std::string(500, 'b'), true}});
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const int change : {1, 0x40, 0xff}) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ change);
      user_error([&] {
        const auto archive = open(damaged);
        for (const ZipMember& member : archive->members()) {
          const std::string content = text(archive->read(member, 1000));
          EXPECT_TRUE(content == std::string(50, 'a') || content == std::string(500, 'b') || content.empty())
              << "byte " << i << ": a wrong content passed";
        }
      });
    }
  }
}

// value of the element with this C-order index
uint16_t number(int64_t index) {
  return static_cast<uint16_t>(index * 7 + (index >> 16));
}

TEST_F(ZipArchiveTest, ArraysInEveryOrderStoredOrDeflated) {
  // Buffers of less than an element, a row and a plane, and of everything; axes of one element in every
  // place.
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{
           {5, 7, 9}, {1, 20, 9}, {20, 1, 9}, {20, 9, 1}, {50, 1, 1}, {1, 1, 1}}) {
    const auto elements = static_cast<size_t>(shape[0] * shape[1] * shape[2]);
    std::vector<uint16_t> source(elements);
    const std::vector<int64_t> target = dense_strides(shape);
    std::vector<size_t> order = {0, 1, 2};
    do {
      const StoredArray array = StoredArray::dense(ElementType::uint16, false, shape, order);
      for (int64_t i = 0; i < static_cast<int64_t>(elements); ++i) {
        int64_t place = 0;
        for (size_t d = 0; d < 3; ++d) place += i / target[d] % shape[d] * array.stride[d];
        source[static_cast<size_t>(place) / 2] = number(i);
      }
      for (const bool packed : {false, true}) {
        const auto archive = open(zip_file({{"other", "x"}, {"m", "12345" + raw_bytes(source), packed}}));
        for (const int64_t block : {1, 30, 200, 1 << 20}) {
          SCOPED_TRACE(testing::PrintToString(shape) + testing::PrintToString(order));
          std::vector<float> out(elements, -1.f);
          const auto values = zip_values(archive, *archive->find("m"), 5, array, Checksum::compared, block);
          EXPECT_TRUE(values->read(whole_of(shape), target, out.data()));
          if (block == 30) expect_parts(*values, shape, out.data());
          for (size_t i = 0; i < elements; ++i)
            ASSERT_EQ(out[i], static_cast<float>(number(static_cast<int64_t>(i)))) << i;
        }
      }
    } while (std::next_permutation(order.begin(), order.end()));
  }
}

TEST_F(ZipArchiveTest, ArraysAreCheckedAgainstTheirChecksum) {
  const std::vector<float> numbers = {1, 2, 3, 4};
  std::vector<float> out(4);
  for (const bool packed : {false, true}) {
    ZipFileMember member{"m", raw_bytes(numbers), packed};
    member.wrong_crc = true;
    const StoredArray array = StoredArray::dense(ElementType::float32, false, {4}, {0});
    const std::string error = user_error([&] {
      const auto archive = open(zip_file({member}));
      zip_values(archive, *archive->find("m"), 0, array)
          ->read(whole_of(array.shape), std::vector<int64_t>{1}, out.data());
    });
    EXPECT_EQ(error, path("a.zip") + (packed ? ": member 'm' is damaged: CRC error"
                                             : ": member 'm' is damaged: its checksum is wrong"));
  }
}

// What was read is not unpacked again for what lies behind it: the archive's first bytes are not looked at
// any more. The checksum is compared at the end of the last part.
TEST_F(ZipArchiveTest, PartsOneAfterTheOther) {
  std::string content;
  std::vector<float> all;
  for (int i = 0; i < 40 * 50 * 6; ++i) {
    content += static_cast<char>(i * 7919 % 251);
    all.push_back(static_cast<float>(i * 7919 % 251));
  }
  const std::vector<int64_t> shape = {40, 50, 6};
  for (const bool damaged : {false, true})
    for (const std::vector<size_t>& order : {std::vector<size_t>{0, 1, 2}, {2, 0, 1}}) {
      const bool planes = order[0] == 2;
      std::string stored;
      for (int e = 0; e < 6 && planes; ++e)
        for (int i = 0; i < 2000; ++i) stored += content[static_cast<size_t>(i * 6 + e)];
      const auto archive =
          open(zip_file({{"a", planes ? stored : content, true, false, 0, -1, -1, damaged}}));
      const auto values =
          zip_values(archive, *archive->find("a"), 0,
                     StoredArray::dense(ElementType::uint8, false, shape, order), Checksum::compared, 64);
      EXPECT_EQ(values->together(),
                planes ? (std::vector<int64_t>{40, 50, 1}) : (std::vector<int64_t>{1, 50, 6}));
      const size_t slow = order[0];
      const int64_t half = shape[slow] / 2;
      ArrayPart first = whole_of(shape), second = whole_of(shape);
      first.size[slow] = half - 1;  // one step is left out
      first.more = true;
      second.first[slow] = half;
      second.size[slow] -= half;
      const auto read = [&](const ArrayPart& part) {
        std::vector<float> numbers(static_cast<size_t>(element_count(part.size, 1)));
        values->read(part, dense_strides(part.size), numbers.data());
        return numbers;
      };
      EXPECT_EQ(read(first), cut(all.data(), shape, first));
      EXPECT_EQ(read(first), cut(all.data(), shape, first));  // from the beginning again
      std::fstream(path("a.zip"), std::ios::in | std::ios::out | std::ios::binary).seekp(31)
          << std::string(20, '\xff');
      if (damaged)
        EXPECT_NE(user_error([&] { read(second); }), "");
      else
        EXPECT_EQ(read(second), cut(all.data(), shape, second));
      EXPECT_NE(user_error([&] { read(first); }), "") << "the archive's beginning is still good";
    }
}

TEST_F(ZipArchiveTest, ArrayOfNoElements) {
  const auto archive = open(zip_file({{"m", ""}, {"n", "header", true}}));
  const StoredArray array = StoredArray::dense(ElementType::float32, false, {0, 5}, {0, 1});
  EXPECT_TRUE(zip_values(archive, *archive->find("m"), 0, array)
                  ->read(whole_of(array.shape), std::vector<int64_t>{5, 1}, nullptr));
  EXPECT_TRUE(zip_values(archive, *archive->find("n"), 6, array)
                  ->read(whole_of(array.shape), std::vector<int64_t>{5, 1}, nullptr));
}

TEST(FirstZipMember, FromTheFirstBytes) {
  const std::string bytes = zip_file({{"data.npy", "abc"}, {"other", "d"}});
  EXPECT_EQ(first_zip_member(bytes), "data.npy");
  EXPECT_EQ(first_zip_member(std::string_view(bytes).substr(0, 33)), "dat");
  EXPECT_EQ(first_zip_member(std::string_view(bytes).substr(0, 29)), "");
  EXPECT_EQ(first_zip_member("\x93NUMPY"), "");
}

}  // namespace
}  // namespace eelsvae
