// A message of a client to eelsvae-serve, and the spectra in it.

#include "io/serve/messages.h"

#include <algorithm>
#include <cstdlib>

#include "fuzz/input_file.h"

using namespace eelsvae;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span message(reinterpret_cast<const std::byte*>(data), size);
  unless_refused([&] {
    const ClientMessage parsed = parse_client_message(message);
    if (const auto* start = std::get_if<StartMessage>(&parsed)) {
      const ScanPlan& plan = start->plan;
      if (plan.height < 1 || plan.width < 1 || plan.height > most_scan_pixels / plan.width ||
          start->series.empty() || start->series.size() > 4 * longest_series || !(plan.energy.scale > 0) ||
          (!plan.excluded.empty() && plan.excluded.size() > size))
        std::abort();
    }
    const auto* block = std::get_if<BlockMessage>(&parsed);
    if (!block) return;
    for (const ElementType type : {ElementType::uint8, ElementType::int16, ElementType::float16,
                                   ElementType::uint32, ElementType::float64})
      for (const int64_t channels : {int64_t{1}, int64_t{2}, int64_t{3}, most_channels})
        unless_refused([&] {
          if (spectra_of(*block, type, channels).size() > size) std::abort();
        });
  });
  return 0;
}
