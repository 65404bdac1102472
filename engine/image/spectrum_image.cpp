#include "engine/image/spectrum_image.h"

#include <utility>

#include "kernels/error.h"

namespace eelsvae {

SpectrumImageView::SpectrumImageView(Axis along_y, Axis along_x, Axis along_energy,
                                     std::span<const float> all_counts, std::span<const uint8_t> mask)
    : y(std::move(along_y)),
      x(std::move(along_x)),
      energy(std::move(along_energy)),
      counts(all_counts),
      excluded(mask) {
  expect(std::ssize(counts) == pixels() * energy.size, "a spectrum image's counts do not match its axes");
  expect(excluded.empty() || std::ssize(excluded) == pixels(),
         "a spectrum image's mask of excluded pixels does not match its axes");
}

SpectrumImageView SpectrumImageView::rows(int64_t first, int64_t last) const {
  expect(0 <= first && first <= last && last <= y.size, "rows outside the image");
  const auto part = [&](auto all, int64_t row) {
    return all.empty()
               ? all
               : all.subspan(static_cast<size_t>(first * row), static_cast<size_t>((last - first) * row));
  };
  SpectrumImageView some = *this;
  some.y.offset = y.value(static_cast<double>(first));
  some.y.size = last - first;
  some.counts = part(counts, x.size * energy.size);
  some.excluded = part(excluded, x.size);
  return some;
}

SpectrumImage SpectrumImageView::copy() const {
  SpectrumImage image;
  image.y = y;
  image.x = x;
  image.energy = energy;
  image.counts.assign(counts.begin(), counts.end());
  image.excluded.assign(excluded.begin(), excluded.end());
  return image;
}

}  // namespace eelsvae
