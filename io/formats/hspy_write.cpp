#include <omp.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/first_failure.h"
#include "io/containers/boxes.h"
#include "io/containers/chunk_codec.h"
#include "io/containers/hdf5_library.h"
#include "io/files/atomic_file.h"
#include "io/formats/hspy.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

using hdf5::check;
using hdf5::Handle;
using nlohmann::json;

constexpr const char* format_version = "3.1";  // of HyperSpy 1.7; later versions read it
constexpr double chunk_bytes = 1e6;            // as HyperSpy aims at
constexpr int compression_level = 1;
constexpr size_t memory_increment = size_t{16} << 20;

// A name that HDF5 takes: members must not contain '/', and "." means the group itself.
std::string member_name(hid_t group, std::string name, const std::string& context) {
  std::replace(name.begin(), name.end(), '/', '-');
  if (name.empty() || name == ".") name = "_";
  while (check(H5Lexists(group, name.c_str(), H5P_DEFAULT), context) > 0) name += '_';
  return name;
}

bool fits_int64(const json& value) {
  if (value.is_number_unsigned()) return value.get<uint64_t>() <= uint64_t{INT64_MAX};
  return value.is_number_integer();
}

// A file of one signal, in memory: an HDF5 library that meets a full disk cannot close its file and crashes
// at the end of the program. Every failure is "cannot write FILE: reason".
class HspyFile {
 public:
  explicit HspyFile(const std::string& path)
      : context_("cannot write " + path),
        utf8_names_(check(H5Pcreate(H5P_LINK_CREATE), context_), H5Pclose),
        utf8_text_(check(H5Tcopy(H5T_C_S1), context_), H5Tclose),
        file_(-1, H5Fclose),
        group_(-1, H5Gclose) {
    check(H5Pset_char_encoding(utf8_names_, H5T_CSET_UTF8), context_);
    check(H5Tset_size(utf8_text_, H5T_VARIABLE), context_);
    check(H5Tset_cset(utf8_text_, H5T_CSET_UTF8), context_);
    const Handle in_memory(check(H5Pcreate(H5P_FILE_ACCESS), context_), H5Pclose);
    check(H5Pset_fapl_core(in_memory, memory_increment, false), context_);
    file_ = Handle(check(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, in_memory), context_), H5Fclose);
  }

  void write(const std::string& title, const std::string& signal_type, const std::vector<Axis>& axes,
             size_t signal_axes, const float* values, const json& metadata) {
    write_attribute(file_, "file_format", "HyperSpy");
    write_attribute(file_, "file_format_version", format_version);
    const Handle experiments = create_group(file_, "Experiments");
    group_ = create_group(experiments, title.empty() ? "__unnamed__" : title);
    for (size_t i = 0; i < axes.size(); ++i)
      write_axis(i, axes[i], i + signal_axes < axes.size(), signal_type);
    write_data(axes, signal_axes, values);

    const bool own_form = metadata.contains("metadata") || metadata.contains("original_metadata");
    json general = own_form ? metadata.value("metadata", json::object()) : json::object();
    if (!general.is_object()) general = json::object();
    for (const char* node : {"General", "Signal"}) {
      if (!general[node].is_object()) general[node] = json::object();
    }
    general["General"]["title"] = title;
    general["Signal"]["signal_type"] = signal_type;
    general["Signal"].erase("record_by");  // the axes' `navigate` says it
    write_object(create_group(group_, "metadata"), general);
    json original = own_form ? metadata.value("original_metadata", json::object()) : metadata;
    if (!original.is_object()) original = json::object();
    write_object(create_group(group_, "original_metadata"), original);
  }

  void copy_to(AtomicFile& target) {
    check(H5Fflush(file_, H5F_SCOPE_GLOBAL), context_);
    const ssize_t size = check(H5Fget_file_image(file_, nullptr, 0), context_);
    void* content = nullptr;  // where HDF5 keeps the pointer to its memory
    check(H5Fget_vfd_handle(file_, H5P_DEFAULT, &content), context_);
    target.write(*static_cast<void**>(content), static_cast<size_t>(size));
  }

 private:
  Handle create_group(hid_t parent, const std::string& name) {
    const std::string unique = member_name(parent, name, context_);
    return Handle(check(H5Gcreate2(parent, unique.c_str(), utf8_names_, H5P_DEFAULT, H5P_DEFAULT), context_),
                  H5Gclose);
  }

  void write_attribute(hid_t object, const std::string& name, hid_t file_type, hid_t memory_type,
                       const void* value) {
    const Handle space(check(H5Screate(H5S_SCALAR), context_), H5Sclose);
    const std::string taken = name.empty() ? "_" : name;
    const Handle attribute(
        check(H5Acreate2(object, taken.c_str(), file_type, space, H5P_DEFAULT, H5P_DEFAULT), context_),
        H5Aclose);
    check(H5Awrite(attribute, memory_type, value), context_);
  }
  void write_attribute(hid_t object, const std::string& name, const char* text) {
    write_attribute(object, name, utf8_text_, utf8_text_, &text);
  }
  void write_attribute(hid_t object, const std::string& name, double number) {
    write_attribute(object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &number);
  }
  void write_attribute(hid_t object, const std::string& name, int64_t number) {
    write_attribute(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &number);
  }
  void write_attribute(hid_t object, const std::string& name, bool value) {  // as h5py stores it
    const Handle type(check(H5Tenum_create(H5T_NATIVE_INT8), context_), H5Tclose);
    const int8_t no = 0, yes = 1, stored = value;
    check(H5Tenum_insert(type, "FALSE", &no), context_);
    check(H5Tenum_insert(type, "TRUE", &yes), context_);
    write_attribute(object, name, type, type, &stored);
  }

  void write_axis(size_t dimension, const Axis& axis, bool navigate, const std::string& signal_type) {
    const Handle group = create_group(group_, "axis-" + std::to_string(dimension));
    write_attribute(group, "_type", "UniformDataAxis");
    if (!axis.name.empty()) write_attribute(group, "name", axis.name.c_str());  // unset if absent
    if (!axis.units.empty()) write_attribute(group, "units", axis.units.c_str());
    write_attribute(group, "navigate", navigate);
    write_attribute(group, "is_binned", !navigate && signal_type == "EELS");
    write_attribute(group, "offset", axis.offset);
    write_attribute(group, "scale", axis.scale);
    write_attribute(group, "size", axis.size);
  }

  void write_data(const std::vector<Axis>& axes, size_t signal_axes, const float* values) {
    std::vector<hsize_t> shape, chunk;
    double signal_bytes = sizeof(float);
    for (size_t i = 0; i < axes.size(); ++i) {
      shape.push_back(static_cast<hsize_t>(axes[i].size));
      if (i + signal_axes >= axes.size()) signal_bytes *= static_cast<double>(axes[i].size);
    }
    // Whole spectra or images, and a square of so many pixels that a chunk comes near to chunk_bytes.
    const double side = std::sqrt(std::max(chunk_bytes / signal_bytes, 1.0));
    for (size_t i = 0; i < axes.size(); ++i)
      chunk.push_back(i + signal_axes >= axes.size() ? shape[i]
                                                     : std::min(shape[i], static_cast<hsize_t>(side)));

    const auto rank = static_cast<int>(shape.size());
    const Handle space(check(H5Screate_simple(rank, shape.data(), nullptr), context_), H5Sclose);
    const Handle properties(check(H5Pcreate(H5P_DATASET_CREATE), context_), H5Pclose);
    check(H5Pset_chunk(properties, rank, chunk.data()), context_);
    check(H5Pset_shuffle(properties), context_);
    check(H5Pset_deflate(properties, compression_level), context_);  // named in the file only
    check(H5Pset_obj_track_times(properties, false), context_);      // same content, same bytes
    Handle data(check(H5Dcreate2(group_, "data", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT),
                      context_),
                H5Dclose);
    write_chunks(data, {shape.begin(), shape.end()}, {chunk.begin(), chunk.end()}, values);
    check(H5Dclose(data.release()), context_);
  }

  // All threads pack chunks; HDF5 takes them one by one, in their order, so that the file is always the same.
  void write_chunks(hid_t data, const std::vector<int64_t>& shape, const std::vector<int64_t>& chunk,
                    const float* values) {
    const Grid grid(shape, chunk);
    const auto threads = static_cast<int>(std::min<int64_t>(grid.total(), omp_get_max_threads()));
    struct Worker {
      StoredArray array;
      std::vector<float, HostAllocator<float>> numbers;
      ChunkEncoder encoder{compression_level};
    };
    StoredArray array{ElementType::float32, std::endian::native == std::endian::big, {}, {}};
    const std::vector<int64_t> stride = dense_strides(shape), chunk_stride = dense_strides(chunk);
    for (const int64_t step : stride) array.stride.push_back(step * static_cast<int64_t>(sizeof(float)));
    std::vector<Worker> workers(static_cast<size_t>(threads));
    for (Worker& worker : workers) worker.array = array;
    FirstFailure failure;
#pragma omp parallel for num_threads(threads) ordered schedule(static, 1)
    for (int64_t i = 0; i < grid.total(); ++i) {
      Box box;
      std::span<const std::byte> packed;
      failure.guard([&] {
        Worker& worker = workers[static_cast<size_t>(omp_get_thread_num())];
        box = grid[i];
        worker.numbers.assign(static_cast<size_t>(element_count(chunk, 1)), 0.f);
        worker.array.shape = box.size;
        const float* first = values;
        for (size_t d = 0; d < shape.size(); ++d) first += box.start[d] * stride[d];
        convert_array(reinterpret_cast<const std::byte*>(first), worker.array, chunk_stride,
                      worker.numbers.data());
        packed = worker.encoder.encode(worker.numbers);
      });
#pragma omp ordered
      failure.guard([&] {
        const hdf5::Silence silence;  // HDF5 keeps this for each thread
        const std::vector<hsize_t> start(box.start.begin(), box.start.end());
        check(H5Dwrite_chunk(data, H5P_DEFAULT, 0, start.data(), packed.size(), packed.data()), context_);
      });
    }
    failure.rethrow();
  }

  void write_list(hid_t group, const std::string& key, const json& list) {
    const auto all = [&](auto predicate) { return std::all_of(list.begin(), list.end(), predicate); };
    if (list.empty()) {
      write_attribute(group, "_list_empty_" + key, "_None_");
    } else if (all([](const json& v) { return fits_int64(v); })) {
      const auto numbers = list.get<std::vector<int64_t>>();
      write_small_dataset(group, "_list_" + key, H5T_STD_I64LE, H5T_NATIVE_INT64, numbers.size(),
                          numbers.data());
    } else if (all([](const json& v) { return v.is_number(); })) {
      const auto numbers = list.get<std::vector<double>>();
      write_small_dataset(group, "_list_" + key, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, numbers.size(),
                          numbers.data());
    } else if (all([](const json& v) { return v.is_string(); })) {
      std::vector<const char*> strings;
      for (const json& v : list) strings.push_back(v.get_ref<const std::string&>().c_str());
      write_small_dataset(group, "_list_" + key, utf8_text_, utf8_text_, strings.size(), strings.data());
    } else {
      json members = json::object();
      for (size_t i = 0; i < list.size(); ++i) members[std::to_string(i)] = list[i];
      write_object(create_group(group, "_list_" + std::to_string(list.size()) + "_" + key), members);
    }
  }

  void write_small_dataset(hid_t group, const std::string& name, hid_t file_type, hid_t memory_type,
                           size_t size, const void* values) {
    const hsize_t length = size;
    const Handle space(check(H5Screate_simple(1, &length, nullptr), context_), H5Sclose);
    const Handle properties(check(H5Pcreate(H5P_DATASET_CREATE), context_), H5Pclose);
    check(H5Pset_obj_track_times(properties, false), context_);
    const std::string unique = member_name(group, name, context_);
    const Handle dataset(
        check(H5Dcreate2(group, unique.c_str(), file_type, space, utf8_names_, properties, H5P_DEFAULT),
              context_),
        H5Dclose);
    check(H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), context_);
  }

  // HyperSpy's way to store a tree of dictionaries, see from_hyperspy() in hspy.cpp.
  void write_object(hid_t group, const json& object) {
    for (const auto& [key, value] : object.items()) {
      if (value.is_object()) {
        write_object(create_group(group, key), value);
      } else if (value.is_array()) {
        write_list(group, key, value);
      } else if (value.is_string()) {
        write_attribute(group, key, value.get_ref<const std::string&>().c_str());
      } else if (value.is_boolean()) {
        write_attribute(group, key, value.get<bool>());
      } else if (fits_int64(value)) {
        write_attribute(group, key, value.get<int64_t>());
      } else if (value.is_number()) {
        write_attribute(group, key, value.get<double>());
      } else {
        write_attribute(group, key, "_None_");
      }
    }
  }

  std::string context_;
  Handle utf8_names_, utf8_text_;
  Handle file_;
  Handle group_;
};

void write_signal(const std::string& path, const std::string& title, const std::string& signal_type,
                  const std::vector<Axis>& axes, size_t signal_axes, const float* values,
                  const std::string& metadata) {
  const json tree = json::parse(metadata, nullptr, false);
  expect(tree.is_object(), "metadata is a JSON object");
  AtomicFile target(path);
  const hdf5::Silence silence;
  HspyFile file(path);
  file.write(title, signal_type, axes, signal_axes, values, tree);
  file.copy_to(target);
  target.commit();
}

}  // namespace

void write_hspy(const std::string& path, const SpectrumImage& image) {
  expect(static_cast<int64_t>(image.counts.size()) == image.pixels() * image.energy.size &&
             !image.counts.empty(),
         "a spectrum image holds y * x * E counts");
  write_signal(path, image.title, "EELS", {image.y, image.x, image.energy}, 1, image.counts.data(),
               image.metadata);
}

void write_hspy_map(const std::string& path, const std::string& title, const Axis& y, const Axis& x,
                    const float* values, const std::string& metadata) {
  expect(y.size > 0 && x.size > 0, "a map has pixels");
  write_signal(path, title, "", {y, x}, 2, values, metadata);
}

}  // namespace eelsvae
