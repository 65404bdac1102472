#include "engine/score_head/shipped.h"

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/error.h"

// The file as it is, in the program's constants.
asm(R"(
  .section .rodata
  .balign 8
  .hidden eelsvae_score_head_begin
  .hidden eelsvae_score_head_end
  .global eelsvae_score_head_begin
  .global eelsvae_score_head_end
eelsvae_score_head_begin:
  .incbin ")" EELSVAE_SCORE_HEAD R"("
eelsvae_score_head_end:
  .previous
)");
extern "C" const char eelsvae_score_head_begin[], eelsvae_score_head_end[];

namespace eelsvae {

const ScoreHead& shipped_score_head() {
  static const ScoreHead shipped = [] {
    // Behind the header of a safetensors file (8 bytes with its length, the text) lie the numbers, in the
    // order in which they were written.
    static_assert(std::endian::native == std::endian::little);
    const auto size = static_cast<size_t>(reinterpret_cast<uintptr_t>(eelsvae_score_head_end) -
                                          reinterpret_cast<uintptr_t>(eelsvae_score_head_begin));
    uint64_t header = 0;
    ScoreHead head(static_cast<size_t>(score_head_weights()));
    std::memcpy(&header, eelsvae_score_head_begin, sizeof header);
    const size_t bytes = head.size() * sizeof(float);
    expect(size == sizeof header + header + bytes,
           "the score head that comes with the program is not that of its network");
    std::memcpy(head.data(), eelsvae_score_head_begin + sizeof header + header, bytes);
    return head;
  }();
  return shipped;
}

}  // namespace eelsvae
