#include "io/files/atomic_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public FileTest {};

TEST_F(AtomicFileTest, TargetAppearsWithCommit) {
  {
    AtomicFile file(path("a"));
    file.write("one ", 4);
    file.write("two", 3);
    EXPECT_FALSE(fs::exists(path("a")));
    EXPECT_EQ(files_in_folder(), 1u);  // the temporary, beside the target
    file.commit();
    EXPECT_EQ(read_bytes(path("a")), "one two");
  }
  EXPECT_EQ(read_bytes(path("a")), "one two");
  EXPECT_EQ(files_in_folder(), 1u);
}

TEST_F(AtomicFileTest, WithoutCommitNothingChanges) {
  write_file(path("a"), "before");
  {
    AtomicFile file(path("a"));
    file.write("after", 5);
  }
  EXPECT_EQ(read_bytes(path("a")), "before");
  EXPECT_EQ(files_in_folder(), 1u);
}

TEST_F(AtomicFileTest, WritesOfAllSizesKeepTheirOrder) {
  std::string expected;
  AtomicFile file(path("a"));
  for (const size_t size : {1u, 0u, 700'000u, 700'000u, 3'000'000u, 5u, (1u << 20) - 5u, 1u << 20, 2u}) {
    const std::string block(size, static_cast<char>('a' + expected.size() % 26));
    file.write(block.data(), block.size());
    expected += block;
  }
  file.commit();
  EXPECT_TRUE(read_bytes(path("a")) == expected);
}

TEST_F(AtomicFileTest, TwoWritersOfOneTargetDoNotMix) {
  AtomicFile first(path("a")), second(path("a"));
  first.write("1", 1);
  second.write("2", 1);
  second.commit();
  first.commit();
  EXPECT_EQ(read_bytes(path("a")), "1");
  EXPECT_EQ(files_in_folder(), 1u);
}

TEST_F(AtomicFileTest, FollowsALinkToTheTarget) {
  fs::create_directory(path("elsewhere"));
  write_file(path("elsewhere/a"), "before");
  fs::create_symlink("elsewhere/a", path("link"));
  write_file(path("link"), "after");
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(read_bytes(path("elsewhere/a")), "after");
}

TEST_F(AtomicFileTest, SaysWhatIsWrongWithATarget) {
  EXPECT_EQ(user_error([&] { write_file(path("missing/a"), "x"); }),
            "cannot write " + path("missing/a") + ": No such file or directory");
  EXPECT_EQ(user_error([&] { write_file(path("."), "x"); }),
            "cannot write " + path(".") + ": Is a directory");
  EXPECT_EQ(user_error([&] { write_file("/dev/null", "x"); }), "cannot write /dev/null: not a regular file");
  EXPECT_EQ(files_in_folder(), 0u);
}

TEST_F(AtomicFileTest, AFullDiskLeavesNothingBehind) {
  write_file(path("a"), "before");
  const std::string large(3 << 20, 'x');
  for (const size_t size : {size_t{1000}, large.size()}) {  // met when flushing, and when writing through
    const FullDisk full(100);
    const std::string message = user_error([&] { write_file(path("a"), large.substr(0, size)); });
    EXPECT_EQ(message, "cannot write " + path("a") + ": File too large");
  }
  EXPECT_EQ(read_bytes(path("a")), "before");
  EXPECT_EQ(files_in_folder(), 1u);
}

TEST_F(AtomicFileTest, ReadTextFile) {
  const std::string text = "line\nwith \xc2\xb5 and \0 inside" + std::string(1, '\0') + "end";
  write_file(path("a"), text);
  EXPECT_EQ(read_text_file(path("a")), text);
  write_file(path("empty"), "");
  EXPECT_EQ(read_text_file(path("empty")), "");
  EXPECT_EQ(user_error([&] { read_text_file(path("b")); }),
            "cannot read " + path("b") + ": No such file or directory");
  EXPECT_EQ(user_error([&] { read_text_file(path(".")); }), "cannot read " + path(".") + ": Is a directory");
  EXPECT_EQ(user_error([&] { read_text_file("/dev/zero"); }), "cannot read /dev/zero: not a regular file");
}

}  // namespace
}  // namespace eelsvae
