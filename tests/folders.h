#pragma once

#include <cstdlib>
#include <string>

namespace eelsvae {

// A file of the sources, and a program of ours, where tests were built, or where the environment says: tests
// that were carried to another machine find them there (scripts/verify-gpu.sh).
inline std::string source_file(const std::string& path) {
  const char* carried = std::getenv("EELSVAE_TEST_SOURCES");
  return std::string(carried ? carried : EELSVAE_SOURCE_DIR) + "/" + path;
}
inline std::string program_file(const std::string& name) {
  const char* carried = std::getenv("EELSVAE_TEST_PROGRAMS");
  return std::string(carried ? carried : EELSVAE_BINARY_DIR) + "/" + name;
}

}  // namespace eelsvae
