#include "engine/network/parameter.h"

#include <algorithm>

namespace eelsvae {
namespace {

constexpr int64_t block_elements = 1 << 20;

// Calls f(type{}) with the C++ type of a storage type.
template <typename F>
void with_type(DType type, F&& f) {
  switch (type) {
    case DType::bf16:
      return f(bfloat16{});
    case DType::f32:
      return f(float{});
    case DType::f64:
      return f(double{});
  }
}

// A run of elements that is contiguous in files (in order) and regular in memory: `rows` rows of `width`
// elements, `pitch` elements apart, starting at `offset`; in files row r and column k are neighbours as
// described by `transposed`: false: (r, k); true: (k, r).
struct Run {
  int64_t offset, rows, width, pitch;
  bool transposed;
};

std::vector<Run> runs_in_file_order(const Parameter& p) {
  const auto [a, b, c, d] = p.view;
  std::vector<Run> runs;
  if (b == 1 || c == 1) {  // the orders agree
    for (int64_t at = 0; at < p.count(); at += block_elements)
      runs.push_back({at, 1, std::min(block_elements, p.count() - at), 0, false});
  } else if (d == 1) {  // (b, c) in files, (c, b) in memory: whole slabs, transposed on the host
    for (int64_t i = 0; i < a; ++i) runs.push_back({i * b * c, c, b, b, true});
  } else {  // rows of d elements that lie b * d apart in memory
    for (int64_t i = 0; i < a; ++i)
      for (int64_t j = 0; j < b; ++j) runs.push_back({i * b * c * d + j * d, c, d, b * d, false});
  }
  return runs;
}

}  // namespace

void read_in_file_order(Backend& backend, const Parameter& parameter, ConstArray array,
                        const std::function<void(const float*, int64_t)>& sink) {
  expect(array.count == parameter.count(), "parameter read from an array of another size");
  with_type(array.type, [&]<typename T>(T) {
    const char* memory = static_cast<const char*>(array.data);
    std::vector<T> staged;
    std::vector<float> block;
    for (const Run& run : runs_in_file_order(parameter)) {
      size_t count = static_cast<size_t>(run.rows * run.width);
      staged.resize(count);
      block.resize(count);
      backend.download_rows(memory + static_cast<size_t>(run.offset) * sizeof(T),
                            static_cast<size_t>(run.pitch) * sizeof(T), staged.data(),
                            static_cast<size_t>(run.width) * sizeof(T), run.rows);
      if (run.transposed) {
        for (int64_t k = 0; k < run.width; ++k)
          for (int64_t r = 0; r < run.rows; ++r)
            block[static_cast<size_t>(k * run.rows + r)] =
                static_cast<float>(staged[static_cast<size_t>(r * run.width + k)]);
      } else {
        std::transform(staged.begin(), staged.end(), block.begin(),
                       [](T v) { return static_cast<float>(v); });
      }
      sink(block.data(), static_cast<int64_t>(count));
    }
  });
}

void write_in_file_order(Backend& backend, const Parameter& parameter, Array array,
                         const std::function<void(float*, int64_t)>& source) {
  expect(array.count == parameter.count(), "parameter written to an array of another size");
  with_type(array.type, [&]<typename T>(T) {
    char* memory = static_cast<char*>(array.data);
    std::vector<T> staged;
    std::vector<float> block;
    for (const Run& run : runs_in_file_order(parameter)) {
      size_t count = static_cast<size_t>(run.rows * run.width);
      staged.resize(count);
      block.resize(count);
      source(block.data(), static_cast<int64_t>(count));
      if (run.transposed) {
        for (int64_t r = 0; r < run.rows; ++r)
          for (int64_t k = 0; k < run.width; ++k)
            staged[static_cast<size_t>(r * run.width + k)] =
                static_cast<T>(block[static_cast<size_t>(k * run.rows + r)]);
      } else {
        std::transform(block.begin(), block.end(), staged.begin(), [](float v) { return static_cast<T>(v); });
      }
      backend.upload_rows(staged.data(), static_cast<size_t>(run.width) * sizeof(T),
                          memory + static_cast<size_t>(run.offset) * sizeof(T),
                          static_cast<size_t>(run.pitch) * sizeof(T), run.rows);
    }
  });
}

std::vector<double> as_doubles(ConstArray array) {
  switch (array.type) {
    case DType::f64:
      return {array.as<double>(), array.as<double>() + array.count};
    case DType::f32:
      return {array.as<float>(), array.as<float>() + array.count};
    case DType::bf16:
      return {array.as<bfloat16>(), array.as<bfloat16>() + array.count};
  }
  return {};
}

std::vector<double> downloaded(Backend& backend, ConstArray array) {
  std::vector<std::byte> raw(array.bytes());
  backend.download(array.data, raw.data(), array.bytes());
  return as_doubles({raw.data(), array.type, array.count});
}

}  // namespace eelsvae
