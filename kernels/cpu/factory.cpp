#include <array>

#include "kernels/backend.h"
#include "kernels/cpu/instruction_set.h"

namespace eelsvae {

// The compilations of this folder (CMakeLists.txt).
extern "C" {
#ifdef __x86_64__
Backend* eelsvae_cpu_avx2(DType activation, cpu::InstructionSet set);
Backend* eelsvae_cpu_avx512(DType activation, cpu::InstructionSet set);
#else
Backend* eelsvae_cpu_generic(DType activation, cpu::InstructionSet set);
#endif
}

namespace {

using cpu::InstructionSet;

std::vector<BackendVariant> variants(const std::string& precision, const std::string& kernels) {
  if (precision != "auto" && precision != "fp32" && precision != "bf16")
    throw UserError("precision " + precision + ": the CPU has auto, fp32 and bf16");
  const std::vector<InstructionSet> sets = cpu::usable_instruction_sets();
  std::vector<BackendVariant> all;
  for (const auto& [name, activation] : {std::pair{"fp32", DType::f32}, std::pair{"bf16", DType::bf16}})
    for (auto set = sets.rbegin(); set != sets.rend(); ++set)
      if ((precision == "auto" || precision == name) &&
          (activation == DType::bf16 || !is_for_bf16_alone(*set)) &&
          (kernels == "auto" || kernels == name_of(*set)))
        all.push_back({name, name_of(*set)});
  if (all.empty()) {
    std::string known;
    for (const InstructionSet set : sets) known += std::string(known.empty() ? "" : ", ") + name_of(set);
    throw UserError("kernels " + kernels + " with precision " + precision +
                    ": not to be had here; this processor, under EELSVAE_MAX_ISA if that is set, has " +
                    known);
  }
  return all;
}

std::optional<std::string> probe(int device) {
  return device == 0 ? std::nullopt : std::optional<std::string>("there is only cpu:0");
}

std::unique_ptr<Backend> create(int, const BackendVariant& variant) {
  const DType activation = variant.precision == "bf16" ? DType::bf16 : DType::f32;
  const InstructionSet set = cpu::instruction_set_named(variant.kernels).value();
#ifdef __x86_64__
  const auto entry = set == InstructionSet::avx2 ? eelsvae_cpu_avx2 : eelsvae_cpu_avx512;
#else
  const auto entry = eelsvae_cpu_generic;
#endif
  return std::unique_ptr<Backend>(entry(activation, set));
}

}  // namespace

extern const BackendFactory cpu_backend;
const BackendFactory cpu_backend = {"cpu", true, 10, probe, variants, create};

}  // namespace eelsvae
