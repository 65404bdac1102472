#include "io/terminal/program.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <csignal>

#include "io/formats/gatan_write.h"
#include "io/formats/hspy.h"
#include "io/formats/spectrum_image_file.h"
#include "tests/io/containers/zip_file.h"
#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

class ProgramTest : public FileTest {};

// The system has no more pages of it.
TEST_F(ProgramTest, AFileThatBecomesShorter) {
  write_bytes(path("a"), std::string(1 << 20, 'a'));
  const auto read = [&] {
    std::_Exit(run_program("reader", [&] {
      const MappedFile file(path("a"));
      std::filesystem::resize_file(path("a"), 0);
      return static_cast<int>(file.data()[1 << 19]);
    }));
  };
  EXPECT_EXIT(read(), testing::ExitedWithCode(2), "^reader: a file became shorter while it was read");
}

TEST_F(ProgramTest, AnInterruptEndsTheReadingOfAnImage) {
  SpectrumImage image;
  image.y.size = 20;
  image.x.size = 30;
  image.energy = {"Energy loss", "eV", 100, 1, 40};
  image.counts.resize(20 * 30 * 40, 1);
  write_hspy(path("chunked.hspy"), image);
  write_dm4(path("planes.dm4"), image);
  const std::string spectra = npy_file("<u1", "(20, 30, 40)", std::string(20 * 30 * 40, 1));
  write_bytes(path("spectra.npy"), spectra);
  write_bytes(path("deflated.npz"), zip_file({{"data.npy", spectra, true}}));
  for (const char* name : {"chunked.hspy", "planes.dm4", "spectra.npy", "deflated.npz"}) {
    SCOPED_TRACE(name);
    const auto read = [&](bool interrupt) {
      omp_set_num_threads(1);  // a forked process has no others
      std::_Exit(run_program("reader", [&] {
        if (interrupt) std::raise(SIGINT);
        read_spectrum_image(path(name), {}, nullptr, interruption());
        return 0;
      }));
    };
    EXPECT_EXIT(read(false), testing::ExitedWithCode(0), "");
    EXPECT_EXIT(read(true), testing::ExitedWithCode(interrupted_status),
                "^reader: interrupted; nothing was written\n$");
  }
}

}  // namespace
}  // namespace eelsvae
