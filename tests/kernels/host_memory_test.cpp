#include "kernels/host_memory.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>

#include <unistd.h>

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

// A made-up proc/ and sys/ under a folder of its own.
class HostMemoryTest : public testing::Test {
 protected:
  HostMemoryTest() {
    write("proc/meminfo", "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     800 kB\n");
  }
  ~HostMemoryTest() override { fs::remove_all(root_); }

  void write(const std::string& file, const std::string& text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  void expect_kilobytes(size_t total, size_t available) {
    DeviceMemory memory = host_memory(root_);
    EXPECT_EQ(memory.total, total * 1024);
    EXPECT_EQ(memory.available, available * 1024);
  }
  static std::string kilobytes(size_t count) { return std::to_string(count * 1024) + "\n"; }

  fs::path root_ =
      fs::temp_directory_path() / ("eelsvae_" + std::to_string(getpid()) + "_" +
                                   testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(HostMemoryTest, WithoutControlGroupsIsThatOfTheMachine) {
  expect_kilobytes(1000, 800);
}

TEST_F(HostMemoryTest, HonoursTheTightestGroupOfVersion2) {
  write("proc/self/cgroup", "0::/outer/inner\n");
  write("sys/fs/cgroup/outer/memory.max", kilobytes(500));
  write("sys/fs/cgroup/outer/memory.current", kilobytes(200));
  write("sys/fs/cgroup/outer/memory.stat", "anon 1\ninactive_file " + kilobytes(50));
  write("sys/fs/cgroup/outer/inner/memory.max", "max\n");
  write("sys/fs/cgroup/outer/inner/memory.current", kilobytes(200));
  expect_kilobytes(500, 350);
}

TEST_F(HostMemoryTest, FindsItsGroupAtTheMountPointOfAContainer) {
  write("proc/self/cgroup", "0::/path/of/the/machine\n");
  write("sys/fs/cgroup/memory.max", kilobytes(300));
  write("sys/fs/cgroup/memory.current", kilobytes(400));  // a limit that was lowered below what is in use
  expect_kilobytes(300, 0);
}

TEST_F(HostMemoryTest, HonoursVersion1) {
  write("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/job\n0::/\n");
  write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", kilobytes(400));
  write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", kilobytes(100));
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");  // no limit
  expect_kilobytes(400, 300);
}

TEST_F(HostMemoryTest, ALimitAboveTheMachineChangesNothing) {
  write("proc/self/cgroup", "0::/\n");
  write("sys/fs/cgroup/memory.max", kilobytes(5000));
  write("sys/fs/cgroup/memory.current", kilobytes(10));
  expect_kilobytes(1000, 800);
}

TEST_F(HostMemoryTest, SaysWhichFileItCannotRead) {
  write("proc/meminfo", "nothing here\n");
  EXPECT_THROW(host_memory(root_), std::runtime_error);
}

TEST(AllocateHost, GivesNothingPastWhatIsAvailable) {
  EXPECT_THROW(allocate_host(std::numeric_limits<size_t>::max()), UserError);
  try {
    release_host(allocate_host(size_t{1} << 50), size_t{1} << 50);
    ADD_FAILURE() << "a petabyte was promised";
  } catch (const UserError& error) {
    std::string text = error.what();
    EXPECT_NE(text.find("1125899.91 GB needed"), std::string::npos) << text;
    EXPECT_NE(text.find("available"), std::string::npos) << text;
  }
}

TEST(AllocateHost, TakesNoBytesAndReleasesNull) {
  void* memory = allocate_host(0);
  EXPECT_NE(memory, nullptr);
  release_host(memory, 0);
  release_host(nullptr, 100);
}

// TMPDIR for as long as it lives.
class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& folder) {
    if (const char* before = std::getenv("TMPDIR")) before_ = before;
    setenv("TMPDIR", folder.c_str(), 1);
  }
  ~ScratchFolder() {
    if (before_)
      setenv("TMPDIR", before_->c_str(), 1);
    else
      unsetenv("TMPDIR");
  }

 private:
  std::optional<std::string> before_;
};

TEST(AllocateSpacious, TakesMemoryWhereThereIsPlenty) {
  const size_t before = scratch_bytes();
  release_host(allocate_spacious(1 << 20), 1 << 20);
  EXPECT_EQ(scratch_bytes(), before);
}

TEST(AllocateSpacious, LeavesHalfOfTheMemoryToOthers) {
  const size_t bytes = host_memory().available / 16 * 9, before = scratch_bytes();
  if (fs::space("/var/tmp").available < bytes + (size_t{1} << 30))
    GTEST_SKIP() << "/var/tmp has not the room";
  const ScratchFolder folder("/var/tmp");
  const size_t open_files = static_cast<size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), {}));
  auto* memory = static_cast<char*>(allocate_spacious(bytes));
  EXPECT_EQ(scratch_bytes(), before + bytes);
  for (size_t at : {size_t{0}, bytes / 2, bytes - 1}) {
    EXPECT_EQ(memory[at], 0);
    memory[at] = 7;
    EXPECT_EQ(memory[at], 7);
  }
  release_host(memory, bytes);
  EXPECT_EQ(static_cast<size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), {})), open_files);
}

TEST(AllocateSpacious, SaysWhereThereIsNoRoom) {
  const auto message = [](size_t bytes) -> std::string {
    try {
      release_host(allocate_spacious(bytes), bytes);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  };
  {
    const ScratchFolder folder("/var/tmp");
    const std::string text = message(size_t{1} << 50);
    EXPECT_NE(text.find("/var/tmp: no room for 1125899.91 GB"), std::string::npos) << text;
    EXPECT_NE(text.find("set TMPDIR"), std::string::npos) << text;
  }
  {
    const ScratchFolder folder("/nowhere");
    EXPECT_NE(message(size_t{1} << 50).find("/nowhere: no room"), std::string::npos);
  }
  if (fs::exists("/dev/shm")) {
    const ScratchFolder folder("/dev/shm");
    EXPECT_NE(message(size_t{1} << 50).find("lies in memory itself"), std::string::npos);
  }
}

}  // namespace
}  // namespace eelsvae
