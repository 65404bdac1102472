#include "io/files/output_folder.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "kernels/error.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

class OutputFolder : public FileTest {
 protected:
  OutputFolder() { fs::create_directories(root_); }

  static std::string mistake(const fs::path& folder, uint64_t required_bytes = 0) {
    try {
      prepare_output_folder(folder, required_bytes);
    } catch (const UserError& error) {
      return error.what();
    }
    return "no error";
  }

  fs::path root_ = path("root");
};

TEST(HumanBytes, RoundsToOneDecimal) {
  EXPECT_EQ(human_bytes(0), "0 bytes");
  EXPECT_EQ(human_bytes(1), "1 byte");
  EXPECT_EQ(human_bytes(1023), "1023 bytes");
  EXPECT_EQ(human_bytes(1024), "1.0 KiB");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(1048575), "1.0 MiB");  // not 1024.0 KiB
  EXPECT_EQ(human_bytes(uint64_t{3} << 30), "3.0 GiB");
  EXPECT_EQ(human_bytes(UINT64_MAX), "16.0 EiB");
}

TEST_F(OutputFolder, IsCreatedWithItsParentsAndLeftEmpty) {
  fs::path folder = root_ / "a" / "b";
  prepare_output_folder(folder, 1);
  EXPECT_TRUE(fs::is_directory(folder));
  EXPECT_TRUE(fs::is_empty(folder));
  prepare_output_folder(folder);
  prepare_output_folder(root_ / "with-slash" / "");
  EXPECT_TRUE(fs::is_directory(root_ / "with-slash"));
}

TEST_F(OutputFolder, KeepsWhatIsThere) {
  std::ofstream(root_ / "last.safetensors") << "x";
  prepare_output_folder(root_);
  EXPECT_TRUE(fs::exists(root_ / "last.safetensors"));
}

TEST_F(OutputFolder, AFileIsRefused) {
  std::ofstream(root_ / "file") << "x";
  EXPECT_EQ(mistake(root_ / "file"),
            "output folder " + (root_ / "file").string() + ": exists, but is not a folder");
}

TEST_F(OutputFolder, AFolderInsideAFileCannotBeCreated) {
  std::ofstream(root_ / "file") << "x";
  std::string name = (root_ / "file" / "run").string();
  EXPECT_EQ(mistake(name), "output folder " + name + ": cannot create: Not a directory");
  EXPECT_EQ(mistake(name, 1), "output folder " + name + ": cannot create: Not a directory");
}

TEST_F(OutputFolder, AFolderWithoutPermissionIsRefused) {
  fs::path folder = root_;
  if (geteuid() == 0) {
    folder = "/proc";  // permissions do not bind root, but nobody makes files there
    if (!fs::is_directory(folder)) GTEST_SKIP() << "run as root and without /proc";
  } else {
    fs::permissions(root_, fs::perms::owner_read | fs::perms::owner_exec);
  }
  EXPECT_EQ(mistake(folder).find("output folder " + folder.string() + ": not writable: "), 0u)
      << mistake(folder);
  fs::permissions(root_, fs::perms::owner_all);
}

TEST_F(OutputFolder, TooLittleSpaceNamesBothNumbersAndCreatesNothing) {
  fs::path folder = root_ / "a" / "b";
  std::string message = mistake(folder, uint64_t{1} << 62);
  EXPECT_EQ(message.find("output folder " + folder.string() + ": needs 4.0 EiB, but its disk has only "), 0u)
      << message;
  EXPECT_NE(message.find("iB free"), std::string::npos) << message;
  EXPECT_FALSE(fs::exists(root_ / "a"));
}

TEST_F(OutputFolder, AnEmptyNameIsRefused) {
  EXPECT_EQ(mistake(""), "output folder: the name is empty");
}

}  // namespace
}  // namespace eelsvae
