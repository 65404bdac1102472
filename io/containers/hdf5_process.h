#pragma once

// Internal to io/: the process that reads an HDF5 file.

#include <sys/stat.h>
#include <sys/types.h>

#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "engine/stop_token.h"
#include "io/containers/chunk_codec.h"
#include "io/containers/hdf5_messages.h"
#include "io/files/mapped_file.h"

namespace eelsvae::hdf5 {

// Runs eelsvae-hdf5-reader on one file: the program that the environment variable EELSVAE_HDF5_HELPER names,
// or the one that comes with this one (io/files/other_program.h).
//
// It keeps faults of the HDF5 library to itself: what was asked for then fails, and what is asked for next is
// asked of another process, so that a damaged image hides no other; but not more than twice, for a file may
// have thousands. It is no barrier against code of somebody else's.
class ReadingProcess {
 public:
  // UserError if the file is missing or no HDF5, and if there is no such program.
  explicit ReadingProcess(const std::string& path);
  // The same, or one of this file that is there already, if nobody has written to the file since.
  static std::shared_ptr<ReadingProcess> shared(const std::string& path);
  ~ReadingProcess();
  ReadingProcess(const ReadingProcess&) = delete;
  ReadingProcess& operator=(const ReadingProcess&) = delete;

  const std::shared_ptr<const MappedFile>& file() const { return file_; }

  // The answer to a request (hdf5_messages.h). UserError that says why if it is no value, or the process
  // ended.
  nlohmann::json ask(const nlohmann::json& request);

  // A box of a dataset that was described before, in `buffer`, which grows as needed. More than `largest`
  // bytes are a UserError; Interrupted if it was asked to stop.
  std::span<const std::byte> ask_box(const nlohmann::json& request, size_t largest, const StopToken& stop,
                                     ByteBuffer& buffer, uint32_t& skipped);

  // Whether the file is no longer what it was when the process was started.
  bool changed() const;

 private:
  void start();
  nlohmann::json value_of(const nlohmann::json& request);
  AnswerStart start_answer(const nlohmann::json& request, const StopToken& stop);
  void receive(void* bytes, size_t count);
  [[noreturn]] void refuse_answer();
  void fail_if_ended() const;
  void end() noexcept;

  std::shared_ptr<const MappedFile> file_;
  struct stat state_ = {};  // of the file
  std::string program_;
  std::mutex turn_;  // a request and its answer
  int socket_ = -1;
  pid_t process_ = -1;
  bool answering_ = false;  // a request was sent, and its answer is not complete
  std::string fault_;       // why it ended
  int starts_left_ = 3;
};

}  // namespace eelsvae::hdf5
