#pragma once

// Internal to io/: reading HDF5 files. The HDF5 library crashes, hangs and takes memory without end on
// damaged files, so it is never called with a file of somebody else's in this process: a program of its own
// reads each file (io/reader), and every function here asks it.

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/containers/hdf5_messages.h"
#include "io/files/stored_array.h"

namespace eelsvae::hdf5 {

class ReadingProcess;

// A group or a dataset of an open file, or the root of it. The file stays open as long as any of its objects
// is kept.
class Object {
 public:
  Object(std::shared_ptr<ReadingProcess> process, std::string path)
      : process_(std::move(process)), path_(std::move(path)) {}
  ReadingProcess& process() const { return *process_; }
  const std::string& path() const { return path_; }  // in the file

  // What is in a group, or at the end of "several/names". Nothing is looked up yet.
  Object member(const std::string& name) const {
    return {process_, path_ + (path_.ends_with('/') ? "" : "/") + name};
  }

 private:
  std::shared_ptr<ReadingProcess> process_;
  std::string path_;
};

// Whether a file whose first bytes are `start` is HDF5. The signature stands at its start or behind a block
// of the user's own of 512, 1024, ... bytes.
bool has_signature(std::string_view start);

// `context` of the functions here is the beginning of their messages: the file, and the object if it helps.
// All throw UserError if the file is damaged there, and if the reading process ended: that is one line, too,
// and whatever is asked afterwards fails with it.

// The root of a file, which is opened for reading; one that is open, and was not changed since, is shared.
// UserError "cannot read PATH: reason", also if the program that reads is not to be found (hdf5_process.h).
Object open_file(const std::string& path);
// The same, to keep it open for those who open it next; nothing if it is no HDF5 file.
std::optional<Object> open_if_hdf5(const std::string& path);

// Of members that are hard links.
bool has_group(const Object& group, const std::string& name, const std::string& context);
bool has_dataset(const Object& group, const std::string& name, const std::string& context);

// Names of the members that are hard links, sorted.
std::vector<std::string> members(const Object& group, const std::string& context);

// Text of the values that follow is readable(). A number, boolean, string or one-dimensional array of them;
// null if there is no such attribute or it is of another kind or larger than 4096 elements.
nlohmann::json attribute(const Object& object, const std::string& name, const std::string& context);

// A dataset in place of an attribute.
nlohmann::json small_dataset(const Object& group, const std::string& name, const std::string& context);

// The first column of a dataset (n, m) of bytes, or a dataset (n), as text up to its first zero. UserError if
// it is not of bytes or longer than 16 MiB.
std::string byte_column(const Object& group, const std::string& name, const std::string& context);

// The attributes, small datasets and groups below a group as a JSON object; what attribute() has no value for
// is left out. Members named in `skip` are left out at every level. UserError if groups nest deeper than 32
// or there are more than 100,000 entries.
nlohmann::json group_as_json(const Object& group, const std::vector<std::string>& skip,
                             const std::string& context);

std::vector<int64_t> dataset_shape(const Object& dataset, const std::string& context);
std::string dataset_dtype(const Object& dataset,
                          const std::string& context);  // "int16"; "compound", ... if not a number

// A dataset of one dimension. UserError if it is not of numbers or has more than 2^20.
std::vector<double> numbers(const Object& dataset, const std::string& context);

// How the numbers of a dataset come; for dataset_values().
StoredDataset stored_dataset(const Object& dataset, const std::string& context);

// The numbers of a dataset whose axis order[i] is the image's axis i, read when they are asked for. Null if
// they are not integers or floats. Reading is a UserError if the file was changed since it was opened.
std::shared_ptr<const ImageValues> dataset_values(const Object& parent, const std::string& dataset,
                                                  std::vector<size_t> order, const std::string& context);

}  // namespace eelsvae::hdf5
