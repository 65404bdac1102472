#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace eelsvae::cpu {

// Memory that the work after this one will need first: up to `Most` pieces to fetch, bit by bit, while this
// one is computed. More than these are left to the processor.
template <size_t Most>
class PrefetchQueue {
 public:
  void add(const void* piece, int64_t bytes) {
    if (count_ == static_cast<int64_t>(Most)) return;
    pieces_[static_cast<size_t>(count_++)] = {static_cast<const char*>(piece), bytes};
    bytes_ += bytes;
  }
  int64_t bytes() const { return bytes_; }
  // The next so many bytes, or somewhat past a piece's end; null where all are fetched.
  const void* take(int64_t bytes) {
    while (first_ < count_ && offset_ >= pieces_[static_cast<size_t>(first_)].bytes) ++first_, offset_ = 0;
    if (first_ == count_) return nullptr;
    offset_ += bytes;
    return pieces_[static_cast<size_t>(first_)].begin + offset_ - bytes;
  }

 private:
  struct Piece {
    const char* begin;
    int64_t bytes;
  };
  std::array<Piece, Most> pieces_;
  int64_t count_ = 0, bytes_ = 0, first_ = 0, offset_ = 0;
};

}  // namespace eelsvae::cpu
