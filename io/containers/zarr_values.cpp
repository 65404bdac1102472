#include <omp.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

#include "io/containers/box_reading.h"
#include "io/containers/zarr.h"
#include "io/files/json_text.h"
#include "io/files/message_text.h"
#include "kernels/error.h"

namespace eelsvae::zarr {
namespace {

using nlohmann::json;

constexpr size_t checksum_bytes = 4;
constexpr size_t longest_text = size_t{1} << 20;     // of a whole array
constexpr size_t longest_values = size_t{64} << 20;  // of a chunk of an array that is small
constexpr int64_t most_small_chunks = 4096;
constexpr int64_t most_chunks = int64_t{1} << 22;
// How many bytes of numbers the chunks there may stand for, by a byte of theirs: twice what the best of the
// compressors can do, as chunks of nothing but the fill value may be left out.
constexpr uint64_t most_by_byte = 2 * largest_zstd_ratio;

// "data/c/0/1"
std::string chunk_name(const Array& array, const std::vector<int64_t>& index) {
  std::string key = array.key_prefix;
  for (const int64_t i : index)
    key += (key.empty() ? "" : std::string(1, array.key_separator)) + std::to_string(i);
  return array.name + "/" + (key.empty() ? "0" : key);
}

size_t bytes_of_chunk(const Array& array) {
  const size_t element = element_size(*array.type);
  return static_cast<size_t>(element_count(array.chunk, element)) * element;
}

// Takes the checksums of a chunk off its end; false if one of them is wrong.
bool take_checksums(std::span<const std::byte>& bytes, int count) {
  for (; count > 0; --count) {
    if (bytes.size() < checksum_bytes) return false;
    uint32_t stated = 0;
    for (size_t i = 0; i < checksum_bytes; ++i)
      stated |= std::to_integer<uint32_t>(bytes[bytes.size() - checksum_bytes + i]) << 8 * i;
    bytes = bytes.first(bytes.size() - checksum_bytes);
    if (crc32c(bytes) != stated) return false;
  }
  return true;
}

// `bytes` is how many the chunk has to have; nothing: as many as a text may have.
std::optional<std::span<const std::byte>> unpacked(std::span<const std::byte> stored, const Array& array,
                                                   std::optional<size_t> bytes, ChunkDecoder& decoder) {
  if (!take_checksums(stored, array.outer_checksums)) return std::nullopt;
  std::span<const std::byte> content;
  if (bytes) {
    const size_t size = *bytes + checksum_bytes * static_cast<size_t>(array.inner_checksums);
    const std::byte* first = decoder.decode(stored, array.compression, false, 1, size);
    if (!first) return std::nullopt;
    content = {first, size};
  } else {
    const auto text = decoder.decode_text(stored, array.compression, longest_text);
    if (!text) return std::nullopt;
    content = *text;
  }
  if (!take_checksums(content, array.inner_checksums)) return std::nullopt;
  return content;
}

// A chunk that has a file. What it holds may lie in that, or in the decoder until its next use.
struct Chunk {
  std::string name;
  std::unique_ptr<const MappedFile> file;
  std::span<const std::byte> content;

  // Nothing if there is no file. UserError if it is damaged; `bytes` as unpacked() has it.
  static std::optional<Chunk> read(const Tree& tree, const Array& array, const std::vector<int64_t>& index,
                                   std::optional<size_t> bytes, ChunkDecoder& decoder) {
    Chunk chunk{chunk_name(array, index), nullptr, {}};
    chunk.file = tree.file(chunk.name);
    if (!chunk.file) return std::nullopt;
    const auto content = unpacked(chunk.file->bytes(), array, bytes, decoder);
    if (!content) chunk.fail_damaged(tree);
    chunk.content = *content;
    return chunk;
  }

  [[noreturn]] void fail_damaged(const Tree& tree) const {
    throw UserError(tree.place(name) +
                    ": damaged or cut off; copy the folder again from where it was written");
  }
};

uint64_t bits_at(const std::byte* place, size_t size, bool big_endian) {
  uint64_t bits = 0;
  for (size_t i = 0; i < size; ++i)
    bits |= std::to_integer<uint64_t>(place[i]) << 8 * (big_endian ? size - 1 - i : i);
  return bits;
}

json element(const std::byte* place, ElementType type, bool big_endian) {
  const uint64_t bits = bits_at(place, element_size(type), big_endian);
  switch (type) {
    case ElementType::boolean:
      return bits != 0;
    case ElementType::int8:
      return static_cast<int8_t>(bits);
    case ElementType::int16:
      return static_cast<int16_t>(bits);
    case ElementType::int32:
      return static_cast<int32_t>(bits);
    case ElementType::int64:
      return static_cast<int64_t>(bits);
    case ElementType::float16:
      return half_to_float(static_cast<uint16_t>(bits));
    case ElementType::float32:
      return std::bit_cast<float>(static_cast<uint32_t>(bits));
    case ElementType::float64:
      return std::bit_cast<double>(bits);
    default:
      return bits;
  }
}

// A list of JSON, behind whose elements numcodecs puts what they are.
bool read_json(std::span<const std::byte> bytes, int64_t count, const std::string& context, json& texts) {
  const std::string list(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const json parsed = parse_json_object("{\"list\": " + list + "}", context).value("list", json());
  if (!parsed.is_array() || static_cast<int64_t>(parsed.size()) < count) return false;
  texts.insert(texts.end(), parsed.begin(), parsed.begin() + count);
  return true;
}

// A number of texts, then the length and the bytes of each, all numbers little-endian in four bytes.
bool read_texts(std::span<const std::byte> bytes, int64_t count, json& texts) {
  const auto number = [&]() -> std::optional<size_t> {
    if (bytes.size() < 4) return std::nullopt;
    const uint64_t value = bits_at(bytes.data(), 4, false);
    bytes = bytes.subspan(4);
    return static_cast<size_t>(value);
  };
  const auto stated = number();
  if (!stated || static_cast<int64_t>(*stated) < count) return false;
  for (int64_t i = 0; i < count; ++i) {
    const auto length = number();
    if (!length || *length > bytes.size()) return false;
    texts.push_back(std::string(reinterpret_cast<const char*>(bytes.data()), *length));
    bytes = bytes.subspan(*length);
  }
  return true;
}

// Which of a grid's chunks a name is that of: a place along each axis; nothing if it is no chunk's name.
std::optional<std::vector<int64_t>> chunk_index(const Array& array, std::string_view name) {
  if (!array.key_prefix.empty()) {
    if (!name.starts_with(array.key_prefix + array.key_separator)) return std::nullopt;
    name.remove_prefix(array.key_prefix.size() + 1);
  }
  std::vector<int64_t> index;
  while (!name.empty()) {
    int64_t place = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), place);
    if (error != std::errc() || place < 0) return std::nullopt;
    name.remove_prefix(static_cast<size_t>(end - name.data()));
    if (!name.empty() && (name.front() != array.key_separator || name.size() == 1)) return std::nullopt;
    if (!name.empty()) name.remove_prefix(1);
    index.push_back(place);
  }
  if (index.size() != array.shape.size()) return std::nullopt;
  return index;
}

// How many chunks have a file, and how many files are those of chunks that the array has not.
struct ChunkFiles {
  int64_t there = 0, elsewhere = 0;
};
ChunkFiles count_chunk_files(const Tree& tree, const Array& array) {
  ChunkFiles files;
  tree.for_each_file_below(array.name, [&](const std::string& name) {
    const auto index = chunk_index(array, name);
    if (!index) return;
    bool inside = true;
    for (size_t d = 0; d < index->size(); ++d) inside &= (*index)[d] <= (array.shape[d] - 1) / array.chunk[d];
    ++(inside ? files.there : files.elsewhere);
  });
  return files;
}

class ArrayValues : public ImageValues {
 public:
  ArrayValues(std::shared_ptr<const Tree> tree, Array array, std::vector<size_t> order)
      : tree_(std::move(tree)), array_(std::move(array)), order_(std::move(order)) {}

  bool read(const ArrayPart& part, std::span<const int64_t> out_stride, float* out,
            const StopToken& stop) const override {
    const std::vector<int64_t>& shape = array_.shape;
    expect(order_.size() == shape.size() && !shape.empty(), "order names every axis of the array");
    if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return true;
    const BoxTarget target(order_, part, out_stride, out);
    const Grid grid(shape, array_.chunk);
    const StoredArray chunk = StoredArray::dense(*array_.type, array_.big_endian, array_.chunk, array_.order);
    const size_t bytes = bytes_of_chunk(array_);
    // Chunks that are few and large are each unpacked by several threads.
    const int threads = threads_for_boxes(grid.total(), static_cast<int64_t>(bytes));
    std::vector<ChunkDecoder> decoders;
    for (int i = 0; i < threads; ++i) decoders.emplace_back(omp_get_max_threads() / threads);
    std::atomic<bool> found = false;
    const bool finite =
        for_each_box(grid, decoders, stop, [&](ChunkDecoder& decoder, int64_t, const Box& box) {
          if (!target.wants(box)) return true;
          std::vector<int64_t> index = box.start;
          for (size_t d = 0; d < index.size(); ++d) index[d] /= array_.chunk[d];
          const auto numbers = Chunk::read(*tree_, array_, index, bytes, decoder);
          if (!numbers) return target.fill(box, array_.missing);
          found = true;
          return target.place(box, chunk, numbers->content.data());
        });
    if (!found)
      throw UserError(tree_->place(array_.name) + ": none of the chunks that are needed is there, as " +
                      chunk_name(array_, std::vector<int64_t>(shape.size())).substr(array_.name.size() + 1) +
                      "; copy the folder again from where it was written");
    return finite;
  }

  std::vector<int64_t> together() const override { return in_order_of_image(array_.chunk, order_); }

 private:
  std::shared_ptr<const Tree> tree_;
  Array array_;
  std::vector<size_t> order_;
};

}  // namespace

std::optional<json> Tree::small_array(const Array& array, int64_t most) const {
  const int64_t count = element_count(array.shape, 1);
  if (array.shape.size() > 1 || count > most || !array.unreadable.empty() ||
      (!array.type && array.texts == Array::no_texts))
    return std::nullopt;
  if ((array.type && bytes_of_chunk(array) > longest_values) ||
      Grid(array.shape, array.chunk).total() > most_small_chunks)
    return std::nullopt;
  json values = json::array();
  ChunkDecoder decoder;
  // A scalar is a chunk of one element.
  const int64_t length = array.chunk.empty() ? 1 : array.chunk[0];
  for (int64_t begin = 0; begin < count; begin += length) {
    const int64_t here = std::min(length, count - begin);
    const std::vector<int64_t> index(array.shape.size(), begin / length);
    const bool numbers = array.type.has_value();
    const auto chunk = Chunk::read(*this, array, index,
                                   numbers ? std::optional(bytes_of_chunk(array)) : std::nullopt, decoder);
    if (!chunk) {
      for (int64_t i = 0; i < here; ++i) values.push_back(numbers ? json(array.missing) : json(""));
    } else if (numbers) {
      for (int64_t i = 0; i < here; ++i)
        values.push_back(element(chunk->content.data() + static_cast<size_t>(i) * element_size(*array.type),
                                 *array.type, array.big_endian));
    } else if (!(array.texts == Array::utf8_texts
                     ? read_texts(chunk->content, here, values)
                     : read_json(chunk->content, here, place(chunk->name), values))) {
      chunk->fail_damaged(*this);
    }
  }
  return readable(array.shape.empty() ? values.at(0) : values);
}

std::shared_ptr<const ImageValues> array_values(std::shared_ptr<const Tree> tree, Array array,
                                                std::vector<size_t> order, std::vector<std::string>& notes) {
  if (!array.type || array.shape.empty()) return nullptr;
  const auto fail = [&](const std::string& reason) {
    throw UserError(tree->place(array.name) + ": " + reason);
  };
  if (!array.unreadable.empty())
    fail("the chunks are " + array.unreadable +
         ", which is not read; load it in HyperSpy or Python and save it as .hspy, or with Blosc, zstd or "
         "gzip");
  const auto elements = static_cast<uint64_t>(element_count(array.shape, 1));
  if (elements > 0) {
    const int64_t chunks = Grid(array.shape, array.chunk).total();
    if (chunks > most_chunks)
      fail("more than " + std::to_string(most_chunks) + " chunks; save it again with larger ones");
    const uint64_t needed = elements * sizeof(float) / most_by_byte;
    const uint64_t there = tree->bytes_below(array.name, needed);
    if (there <= needed)
      fail("its shape is " + shape_text(array.shape) + ", but its chunks have " + std::to_string(there) +
           " bytes; copy the folder again from where it was written");
    const ChunkFiles files = count_chunk_files(*tree, array);
    if (files.elsewhere > 0)
      fail("is described as " + shape_text(array.shape) + " in chunks of " + shape_text(array.chunk) +
           ", but " + std::to_string(files.elsewhere) +
           " files are chunks of another shape; copy the folder again from where it was written");
    // A scan that was broken off, or a copy: what is read then is of no scan.
    if (files.there > 0 && files.there < chunks) {
      char fill[32];
      std::snprintf(fill, sizeof fill, "%g", static_cast<double>(array.missing));
      notes.push_back(std::to_string(chunks - files.there) + " of the " + std::to_string(chunks) +
                      " chunks of the data have no file and are taken for " + fill +
                      "; if the folder is a copy, copy it again");
    }
  }
  return std::make_shared<ArrayValues>(std::move(tree), std::move(array), std::move(order));
}

}  // namespace eelsvae::zarr
