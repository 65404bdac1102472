#include "io/reader/hdf5_datasets.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <utility>

#include "io/containers/boxes.h"
#include "io/files/message_text.h"
#include "io/files/stored_array.h"
#include "io/reader/hdf5_objects.h"
#include "kernels/error.h"

namespace eelsvae::hdf5 {
namespace {

constexpr int64_t block_bytes = int64_t{16} << 20;  // read at once where HDF5 itself unpacks
constexpr int64_t smallest_chunk = 4096;            // bytes; smaller ones are read by HDF5, many at once
constexpr H5Z_filter_t lzf_filter = 32000;

struct NumberType {
  ElementType type;
  bool big_endian;
};

// The type of a dataset's numbers, or nothing if it takes HDF5 to convert them.
std::optional<NumberType> number_type(hid_t type) {
  using enum ElementType;
  if (is_boolean(type)) return NumberType{boolean, false};
  const H5T_order_t order = H5Tget_order(type);
  const size_t size = H5Tget_size(type);
  if (order != H5T_ORDER_LE && order != H5T_ORDER_BE) return std::nullopt;
  const bool big = order == H5T_ORDER_BE;
  if (H5Tget_class(type) == H5T_INTEGER) {
    if (H5Tget_precision(type) != 8 * size || H5Tget_offset(type) != 0) return std::nullopt;
    const bool negative = H5Tget_sign(type) == H5T_SGN_2;
    if (size == 1) return NumberType{negative ? int8 : uint8, big};
    if (size == 2) return NumberType{negative ? int16 : uint16, big};
    if (size == 4) return NumberType{negative ? int32 : uint32, big};
    if (size == 8) return NumberType{negative ? int64 : uint64, big};
    return std::nullopt;
  }
  if (H5Tequal(type, big ? H5T_IEEE_F32BE : H5T_IEEE_F32LE) > 0) return NumberType{float32, big};
  if (H5Tequal(type, big ? H5T_IEEE_F64BE : H5T_IEEE_F64LE) > 0) return NumberType{float64, big};
  size_t sign, exponent, exponent_bits, fraction, fraction_bits;
  if (size == 2 && H5Tget_fields(type, &sign, &exponent, &exponent_bits, &fraction, &fraction_bits) >= 0 &&
      sign == 15 && exponent == 10 && exponent_bits == 5 && fraction == 0 && fraction_bits == 10 &&
      H5Tget_ebias(type) == 15 && H5Tget_norm(type) == H5T_NORM_IMPLIED)
    return NumberType{float16, big};
  return std::nullopt;
}

// What chunks are packed with that is unpacked without HDF5, which has no more than the first of them.
struct ChunkFilter {
  H5Z_filter_t filter;
  Compression compression;
};
constexpr ChunkFilter chunk_filters[] = {{H5Z_FILTER_DEFLATE, Compression::deflate},
                                         {lzf_filter, Compression::lzf},
                                         {32001, Compression::blosc},
                                         {32015, Compression::zstd}};

// https://github.com/HDFGroup/hdf5_plugins, docs/RegisteredFilterPlugins.md
struct FilterName {
  H5Z_filter_t filter;
  const char* name;
};
constexpr FilterName filter_names[] = {
    {H5Z_FILTER_SZIP, "szip"},
    {307, "bzip2"},
    {32001, "blosc"},
    {32004, "LZ4"},
    {32008, "bitshuffle"},
    {32013, "ZFP"},
    {32015, "zstd"},
    {32017, "SZ"},
    {32018, "FCIDECOMP"},
    {32019, "JPEG"},
    {32023, "Granular BitRound"},
    {32026, "blosc2"},
};

// What to say of a filter that neither HDF5 nor a plug-in of it has; "" if it can be used.
std::string missing_filter(H5Z_filter_t filter) {
  if (H5Zfilter_avail(filter) > 0) return "";
  std::string name = "HDF5 filter " + std::to_string(filter);
  for (const FilterName& known : filter_names) {
    if (known.filter == filter) name = std::string(known.name) + " (" + name + ")";
  }
  return ": is compressed with " + name +
         (std::ranges::find(chunk_filters, filter, &ChunkFilter::filter) != std::end(chunk_filters)
              ? " beside other filters, which together eelsvae does not read"
              : ", which eelsvae does not read") +
         "; rewrite it with h5repack -f GZIP=4 IN OUT where that filter is installed";
}

// UserError if a file is missing that holds a part of a virtual dataset, for which HDF5 would put fill
// values. Names that stand for many files are left to it.
void check_sources(hid_t file, hid_t properties, const std::string& context) {
  size_t count = 0;
  check(H5Pget_virtual_count(properties, &count), context);
  const auto text_of = [&](const auto& get) {
    std::string text(static_cast<size_t>(check(get(nullptr, size_t{0}), context)) + 1, '\0');
    check(get(text.data(), text.size()), context);
    text.pop_back();
    return text;
  };
  namespace fs = std::filesystem;
  const fs::path folder =
      fs::path(text_of([&](char* out, size_t size) { return H5Fget_name(file, out, size); })).parent_path();
  for (size_t i = 0; i < count; ++i) {
    const std::string source =
        text_of([&](char* out, size_t size) { return H5Pget_virtual_filename(properties, i, out, size); });
    if (source != "." && source.find('%') == std::string::npos && !fs::exists(folder / source) &&
        !fs::exists(source))
      throw UserError(context + ": a part of the data is in the file " + source + ", which is missing");
  }
}

// HDF5's interface of a filter, which must take memory of malloc. The third value says how long an unpacked
// chunk is, but h5py has it wrong for texts.
size_t lzf(unsigned flags, size_t, const unsigned[], size_t bytes, size_t* buffer_bytes, void** buffer) {
  if (!(flags & H5Z_FLAG_REVERSE)) return 0;
  const std::span packed(static_cast<const std::byte*>(*buffer), bytes);
  const size_t unpacked = lzf_size(packed);
  void* out = std::malloc(unpacked);
  if (!out) return 0;
  if (unpacked == 0 || !unpack_lzf(packed, {static_cast<std::byte*>(out), unpacked})) {
    std::free(out);
    return 0;
  }
  std::free(*buffer);
  *buffer = out;
  *buffer_bytes = unpacked;
  return unpacked;
}

}  // namespace

void register_lzf() {
  const H5Z_class2_t filter = {H5Z_CLASS_T_VERS, lzf_filter, 0, 1, "lzf", nullptr, nullptr, lzf};
  check(H5Zregister(&filter), "the LZF filter");
}

Dataset::Dataset(hid_t file, const std::string& path, const std::string& context)
    : context_(context),
      data_(open_dataset(file, path, context)),
      type_(check(H5Dget_type(data_), context), H5Tclose),
      properties_(check(H5Dget_create_plist(data_), context), H5Pclose) {
  StoredDataset& found = description_;
  found.shape = dataset_shape(data_, context);
  hsize_t file_bytes = 0;
  check(H5Fget_filesize(file, &file_bytes), context);
  file_bytes_ = file_bytes;
  if (element_count(found.shape, std::max(H5Tget_size(type_), sizeof(float))) < 0)
    throw UserError(context + ": more elements than any memory holds");
  if (std::find(found.shape.begin(), found.shape.end(), 0) != found.shape.end()) return;
  H5D_fill_value_t defined = H5D_FILL_VALUE_UNDEFINED;
  check(H5Pfill_value_defined(properties_, &defined), context);
  if (const bool boolean = is_boolean(type_); defined != H5D_FILL_VALUE_UNDEFINED) {
    uint8_t bit = 0;  // HDF5 makes no number of an enumeration
    check(H5Pget_fill_value(properties_, boolean ? static_cast<hid_t>(type_) : H5T_NATIVE_FLOAT,
                            boolean ? static_cast<void*>(&bit) : &found.missing),
          context);
    if (boolean) found.missing = bit != 0;
  }
  H5D_space_status_t written = H5D_SPACE_STATUS_ERROR;
  check(H5Dget_space_status(data_, &written), context);
  const H5D_layout_t layout = H5Pget_layout(properties_);
  if (written == H5D_SPACE_STATUS_NOT_ALLOCATED && layout != H5D_VIRTUAL) return;

  const std::optional<NumberType> number = number_type(type_);
  if (number) {
    found.type = number->type;
    found.big_endian = number->big_endian;
  }
  if (number && layout == H5D_CONTIGUOUS && H5Pget_external_count(properties_) == 0) {
    const haddr_t offset = H5Dget_offset(data_);
    if (offset == HADDR_UNDEF) throw UserError(context + ": the data have no place in the file");
    found.way = StoredDataset::contiguous;
    found.offset = offset;
    return;
  }
  found.box.assign(found.shape.size(), 1);
  found.way = StoredDataset::blocks;
  if (layout == H5D_VIRTUAL) check_sources(file, properties_, context);
  if (layout == H5D_CHUNKED) describe_chunks();
  if (found.way == StoredDataset::chunks && number) return;

  // By way of HDF5, in blocks of whole chunks.
  found.way = StoredDataset::blocks;
  found.compression = Compression::none;
  found.shuffle_place = -1;
  found.checksum_place = -1;
  converted_ = !number;
  if (converted_) found.big_endian = std::endian::native == std::endian::big;
  const auto element = static_cast<int64_t>(element_size(found.type));
  for (size_t d = 0; d < found.box.size(); ++d) found.box[d] = std::min(found.box[d], found.shape[d]);
  for (size_t d = found.box.size(); d-- > 0;) {
    const int64_t bytes = element_count(found.box, 1) * element;
    found.box[d] = std::min(found.shape[d], found.box[d] * std::max<int64_t>(block_bytes / bytes, 1));
  }
}

// The chunks' shape, and whether they are worth unpacking without HDF5 and packed so that it is possible.
void Dataset::describe_chunks() {
  StoredDataset& found = description_;
  std::vector<hsize_t> sizes(found.shape.size());
  check(H5Pget_chunk(properties_, static_cast<int>(sizes.size()), sizes.data()), context_);
  found.box.assign(sizes.begin(), sizes.end());
  const int64_t elements = element_count(found.box, H5Tget_size(type_));
  if (elements <= 0) throw UserError(context_ + ": the chunks have no size");
  bool known = true, worthwhile = elements * static_cast<int64_t>(H5Tget_size(type_)) >= smallest_chunk;
  const int count = check(H5Pget_nfilters(properties_), context_);
  for (int i = 0; i < count; ++i) {
    unsigned flags = 0, values[16] = {};
    size_t value_count = std::size(values);
    const H5Z_filter_t filter = check(H5Pget_filter2(properties_, static_cast<unsigned>(i), &flags,
                                                     &value_count, values, 0, nullptr, nullptr),
                                      context_);
    const auto* packer = std::ranges::find(chunk_filters, filter, &ChunkFilter::filter);
    if (missing_filter_.empty()) missing_filter_ = missing_filter(filter);
    if (filter == H5Z_FILTER_SHUFFLE && i == 0 && (value_count == 0 || values[0] == H5Tget_size(type_))) {
      found.shuffle_place = i;
    } else if (packer != std::end(chunk_filters) && found.compression == Compression::none) {
      found.compression = packer->compression;
      found.compression_place = i;
    } else if (filter == H5Z_FILTER_FLETCHER32 && i == count - 1) {
      found.checksum_place = i;
    } else {
      known = false;
    }
  }
  unsigned options = 0;  // whether chunks at the edges are stored without the filters
  check(H5Pget_chunk_opts(properties_, &options), context_);
  worthwhile |= !missing_filter_.empty();  // HDF5 could not
  if (known && worthwhile && options == 0) found.way = StoredDataset::chunks;
}

uint64_t Dataset::box_bytes() const {
  if (description_.way != StoredDataset::chunks && description_.way != StoredDataset::blocks) return 0;
  int64_t elements = element_count(description_.box, sizeof(double));
  std::vector<hsize_t> chunk(description_.shape.size());
  if (H5Pget_layout(properties_) == H5D_CHUNKED &&
      H5Pget_chunk(properties_, static_cast<int>(chunk.size()), chunk.data()) >= 0)
    elements =
        std::max(elements, element_count(std::vector<int64_t>(chunk.begin(), chunk.end()), sizeof(double)));
  // A chunk is not much larger than the image, but for the smallest.
  const int64_t image = element_count(description_.shape, sizeof(double));
  return 4 * sizeof(double) * static_cast<uint64_t>(std::min(elements / 4 + 1, image));
}

std::span<const std::byte> Dataset::load(int64_t index, uint32_t& skipped) {
  return description_.way == StoredDataset::chunks ? load_chunk(index, skipped) : load_block(index);
}

std::span<const std::byte> Dataset::load_chunk(int64_t index, uint32_t& skipped) {
  const Box box = Grid(description_.shape, description_.box)[index];
  const std::vector<hsize_t> start(box.start.begin(), box.start.end());
  hsize_t size = 0;
  if (H5Dget_chunk_storage_size(data_, start.data(), &size) < 0) {
    // HDF5 1.10 fails for chunks that were never written, later versions say 0. This one looks through all.
    haddr_t place = HADDR_UNDEF;
    unsigned filters = 0;
    check(H5Dget_chunk_info_by_coord(data_, start.data(), &filters, &place, &size), context_);
    if (place == HADDR_UNDEF) return {};
    fail(context_ + ": " + chunk_text(box));
  }
  if (size > file_bytes_) throw UserError(context_ + ": " + chunk_text(box) + " is longer than the file");
  if (size == 0) return {};
  if (buffer_.size() < size) buffer_.resize(static_cast<size_t>(size));
  check(H5Dread_chunk(data_, H5P_DEFAULT, start.data(), &skipped, buffer_.data()), context_);
  return std::span<const std::byte>(buffer_).first(static_cast<size_t>(size));
}

std::span<const std::byte> Dataset::load_block(int64_t index) {
  const Box box = Grid(description_.shape, description_.box)[index];
  const std::vector<hsize_t> start(box.start.begin(), box.start.end()),
      size(box.size.begin(), box.size.end());
  const Handle file_space(check(H5Dget_space(data_), context_), H5Sclose);
  const Handle memory_space(
      check(H5Screate_simple(static_cast<int>(size.size()), size.data(), nullptr), context_), H5Sclose);
  check(H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start.data(), nullptr, size.data(), nullptr),
        context_);
  buffer_.resize(static_cast<size_t>(element_count(box.size, 1)) * element_size(description_.type));
  if (H5Dread(data_, converted_ ? H5T_NATIVE_FLOAT : static_cast<hid_t>(type_), memory_space, file_space,
              H5P_DEFAULT, buffer_.data()) < 0) {
    if (!missing_filter_.empty()) throw UserError(context_ + missing_filter_);
    fail(context_);
  }
  return buffer_;
}

}  // namespace eelsvae::hdf5
