#pragma once

#include <optional>
#include <string>
#include <vector>

namespace eelsvae::cpu {

// What kernels ask of a processor. Of x86-64 each includes the ones before it; `generic` is what any other
// processor has. avx2 is x86-64-v3, avx512 x86-64-v4, amx the tile registers with products of bf16.
enum class InstructionSet { generic, avx2, avx512, avx512_bf16, amx };

// All that kernels are compiled for on this architecture, the least first. Tests run on each that the machine
// has.
std::vector<InstructionSet> instruction_sets();
// Whether a set brings nothing to activations in f32 that the one before it does not.
bool is_for_bf16_alone(InstructionSet set);

const char* name_of(InstructionSet set);
std::optional<InstructionSet> instruction_set_named(const std::string& name);

// The sets that kernels may use in this process, the least first: those that the processor has and the system
// lends, up to the one that EELSVAE_MAX_ISA in the environment names. UserError if that names none.
std::vector<InstructionSet> usable_instruction_sets();

}  // namespace eelsvae::cpu
