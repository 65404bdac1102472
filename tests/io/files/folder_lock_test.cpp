#include "io/files/folder_lock.h"

#include <csignal>
#include <cstddef>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/error.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;

class FolderLockTest : public FileTest {
 protected:
  std::string mistake() const {
    try {
      const FolderLock lock(path("."));
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(FolderLockTest, IsHeldOnceAndLeavesNothing) {
  for (int i = 0; i < 2; ++i) {
    const FolderLock lock(path("."));
    EXPECT_EQ(lock.warning(), "");
    EXPECT_NE(mistake().find("another program is writing into it"), std::string::npos) << mistake();
    EXPECT_TRUE(fs::exists(path(".lock"))) << "who is refused leaves the other's lock alone";
  }
  EXPECT_TRUE(fs::is_empty(path(".")));
}

TEST_F(FolderLockTest, AKilledProcessLeavesNone) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const FolderLock lock(path("."));
    if (write(ready[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char byte = 0;
  EXPECT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_NE(mistake(), "");
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(fs::exists(path(".lock")));
  EXPECT_EQ(mistake(), "");
  EXPECT_TRUE(fs::is_empty(path(".")));
  close(ready[0]);
  close(ready[1]);
}

// As on a network file system that was mounted without them: the system is made to say so.
TEST_F(FolderLockTest, WithoutLocksThereIsAWarning) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_flock, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOLCK),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter = {std::size(program), program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
      _exit(3);
    const FolderLock lock(path("."));
    _exit(lock.warning().find("nothing keeps a second program") == std::string::npos ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0) << "3: the system takes no filter of its calls";
}

TEST_F(FolderLockTest, AFolderThatCannotBeWrittenInto) {
  try {
    const FolderLock lock("/proc");
    FAIL() << "it is locked";
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()).find("output folder /proc: not writable: "), 0u) << error.what();
  }
}

}  // namespace
}  // namespace eelsvae
