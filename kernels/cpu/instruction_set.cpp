#include "kernels/cpu/instruction_set.h"

#include <array>
#include <cstdlib>
#include <utility>

#include "kernels/error.h"
#include "kernels/processor.h"

#ifdef __x86_64__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace eelsvae::cpu {
namespace {

using Name = std::pair<InstructionSet, const char*>;

#ifdef __x86_64__

constexpr std::array names = {Name{InstructionSet::avx2, "avx2"}, Name{InstructionSet::avx512, "avx512"},
                              Name{InstructionSet::avx512_bf16, "avx512_bf16"},
                              Name{InstructionSet::amx, "amx"}};

// The system lends the tile registers to a process that asks for them.
bool may_use_tiles() {
  constexpr long request_permission = 0x1023, tile_data = 18;
  return __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
         syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

std::vector<InstructionSet> sets_of_processor() {
  if (const char* missing = missing_of_processor()) throw UserError(missing);
  std::vector<InstructionSet> sets = {InstructionSet::avx2};
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512cd") || !__builtin_cpu_supports("avx512dq") ||
      !__builtin_cpu_supports("avx512vl"))
    return sets;
  sets.push_back(InstructionSet::avx512);
  if (!__builtin_cpu_supports("avx512bf16")) return sets;
  sets.push_back(InstructionSet::avx512_bf16);
  if (may_use_tiles()) sets.push_back(InstructionSet::amx);
  return sets;
}

#else

constexpr std::array names = {Name{InstructionSet::generic, "generic"}};

std::vector<InstructionSet> sets_of_processor() {
  return {InstructionSet::generic};
}

#endif

}  // namespace

std::vector<InstructionSet> instruction_sets() {
  std::vector<InstructionSet> sets;
  for (const auto& [set, name] : names) sets.push_back(set);
  return sets;
}

bool is_for_bf16_alone(InstructionSet set) {
  return set > InstructionSet::avx512;
}

const char* name_of(InstructionSet set) {
  for (const auto& [value, name] : names)
    if (value == set) return name;
  return "?";
}

std::optional<InstructionSet> instruction_set_named(const std::string& name) {
  for (const auto& [set, text] : names)
    if (name == text) return set;
  return std::nullopt;
}

std::vector<InstructionSet> usable_instruction_sets() {
  static const std::vector<InstructionSet> all = sets_of_processor();  // the same for everybody
  std::vector<InstructionSet> sets = all;
  const char* text = std::getenv("EELSVAE_MAX_ISA");
  if (!text || !*text) return sets;
  const std::optional<InstructionSet> most = instruction_set_named(text);
  if (!most) {
    std::string known;
    for (const auto& [set, name] : names) known += std::string(known.empty() ? "" : ", ") + name;
    throw UserError(std::string("EELSVAE_MAX_ISA=") + text + ": must be one of " + known);
  }
  while (sets.size() > 1 && sets.back() > *most) sets.pop_back();
  return sets;
}

}  // namespace eelsvae::cpu
