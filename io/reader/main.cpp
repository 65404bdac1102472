// eelsvae-hdf5-reader: reads an HDF5 file for another program (io/containers/hdf5_process.h), so that it is
// this process and no other that ends, hangs or runs out of memory where the HDF5 library does so on a
// damaged file.

#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "io/containers/hdf5_messages.h"
#include "io/reader/hdf5_datasets.h"
#include "io/reader/hdf5_objects.h"
#include "kernels/error.h"

using namespace eelsvae;
using namespace eelsvae::hdf5;
using nlohmann::json;

namespace {

constexpr int asker = STDIN_FILENO;  // a socket
// Seconds of processor time, which a slow disk does not use up: ten times what a file of 100,000 attributes
// takes.
constexpr long longest_answer = 3;
constexpr uint64_t bytes_per_second = uint64_t{32} << 20;  // that the slowest filter unpacks
// Of HDF5's caches and of metadata. What is read of images comes in addition.
constexpr uint64_t metadata_bytes = uint64_t{512} << 20;

uint64_t mapped_bytes() {
  unsigned long long pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%llu", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// Libraries' share of the address space is not the file's fault.
const uint64_t own_bytes = mapped_bytes();

void limit_memory(uint64_t bytes) {
#ifndef __SANITIZE_ADDRESS__  // which takes terabytes of addresses
  rlimit limit = {};
  getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = std::min<rlim_t>(own_bytes + bytes, limit.rlim_max);
  setrlimit(RLIMIT_AS, &limit);
#else
  static_cast<void>(bytes);
#endif
}

// The process ends when the time is over.
void limit_time(long seconds) {
  const itimerval timer = {{0, 0}, {seconds, 0}};
  setitimer(ITIMER_PROF, &timer, nullptr);
}

void answer(AnswerStart::Form form, const void* bytes, size_t count, uint32_t skipped = 0) {
  const AnswerStart start = {form, skipped, count};
  if (!send_bytes(asker, &start, sizeof start) || !send_bytes(asker, bytes, count)) _exit(0);
}

// An open file, and what can be asked about it.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(-1, H5Fclose) {}

  void reply(const json& request) {
    const std::string what = request.at(0);
    if (what == "box") return reply_box(request);
    const std::vector<uint8_t> value = json::to_cbor(value_of(what, request));
    answer(AnswerStart::value, value.data(), value.size());
  }

 private:
  json value_of(const std::string& what, const json& request) {
    if (what == "open") {
      file_ = open_file(path_);
      return nullptr;
    }
    // The other arguments: an object, what messages about it begin with, and mostly the name of a member.
    const std::string object = request.at(1), context = request.at(2);
    const auto group = [&] { return open_group(file_, object, context); };
    const auto name = [&] { return request.at(3).get<std::string>(); };
    if (what == "has_group") return has_group(group(), name(), context);
    if (what == "has_dataset") return has_dataset(group(), name(), context);
    if (what == "members") return members(group(), context);
    if (what == "attribute")
      return attribute(Handle(check(H5Oopen(file_, object.c_str(), H5P_DEFAULT), context), H5Oclose), name(),
                       context);
    if (what == "small_dataset") return small_dataset(group(), name(), context);
    if (what == "byte_column") return byte_column(group(), name(), context);
    if (what == "group_as_json") return group_as_json(group(), request.at(3), context);
    if (what == "shape") return dataset_shape(open_dataset(file_, object, context), context);
    if (what == "dtype") return dataset_dtype(open_dataset(file_, object, context), context);
    if (what == "numbers") return numbers(open_dataset(file_, object, context), context);
    if (what == "dataset") {
      datasets_.erase(object);
      return dataset_of(object, context).description();
    }
    throw UserError("eelsvae-hdf5-reader is of another version");
  }

  void reply_box(const json& request) {
    uint32_t skipped = 0;
    Dataset& dataset = dataset_of(request.at(1), request.at(2));
    limit_time(longest_answer + static_cast<long>(box_bytes_ / bytes_per_second));
    const std::span<const std::byte> bytes = dataset.load(request.at(3).get<int64_t>(), skipped);
    answer(AnswerStart::box, bytes.data(), bytes.size(), skipped);
  }

  // Described now, unless it was before.
  Dataset& dataset_of(const std::string& object, const std::string& context) {
    const auto [place, is_new] = datasets_.try_emplace(object, file_, object, context);
    if (is_new) {
      box_bytes_ = 0;
      for (const auto& [path, described] : datasets_) box_bytes_ += described.box_bytes();
      limit_memory(metadata_bytes + 3 * box_bytes_);
    }
    return place->second;
  }

  std::string path_;
  Handle file_;
  std::map<std::string, Dataset> datasets_;  // described so far
  uint64_t box_bytes_ = 0;                   // of all of them
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(
        stderr,
        "usage: eelsvae-hdf5-reader FILE, with a socket as standard input; programs start it that read\n");
    return 2;
  }
  const rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  limit_memory(metadata_bytes);
  const Silence silence;
  register_lzf();
  Reader reader(argv[1]);
  std::vector<uint8_t> request;
  for (uint64_t bytes; receive_bytes(asker, &bytes, sizeof bytes);) {
    std::string failure;
    try {
      request.resize(bytes);
      if (!receive_bytes(asker, request.data(), bytes)) break;
      limit_time(longest_answer);
      reader.reply(json::from_cbor(request));
      limit_time(0);
      continue;
    } catch (const std::bad_alloc&) {
      failure =
          std::string(argv[1]) + ": takes more memory than an image of its size should; the file is damaged";
    } catch (const std::exception& error) {
      failure = error.what();
    }
    limit_time(0);
    answer(AnswerStart::failure, failure.data(), failure.size());
  }
  _exit(0);  // closing a damaged file may be as bad as reading it
}
