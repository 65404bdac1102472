#pragma once

#include <atomic>
#include <future>
#include <string>
#include <vector>

#include "engine/stop_token.h"
#include "io/files/provenance.h"

namespace eelsvae {

// Size and SHA-256 of files, which are read whole; those of an image are image_files(). That of a folder is
// the SHA-256 of the lines that sha256sum prints of the files below it, by their names in it, in the order of
// these. UserError if one cannot be read.
std::vector<InputFile> record_inputs(const std::vector<std::string>& paths, const StopToken& stop = {});

// The same beside other work, which may use a part of the files only. Whoever leaves that work, by a mistake
// or Ctrl-C, does not wait for the digests.
class InputRecords {
 public:
  explicit InputRecords(std::vector<std::string> paths);
  ~InputRecords() { cancelled_ = true; }  // before the future waits
  InputRecords(const InputRecords&) = delete;
  InputRecords& operator=(const InputRecords&) = delete;

  // Once. Errors as record_inputs() has them; Interrupted where it is asked to stop.
  std::vector<InputFile> get(const StopToken& stop = {});

 private:
  std::atomic<bool> cancelled_ = false;
  std::future<std::vector<InputFile>> records_;
};

}  // namespace eelsvae
