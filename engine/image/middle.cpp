#include "engine/image/middle.h"

#include <algorithm>

namespace eelsvae {

SpectrumImage middle_of(const SpectrumImageView& image, int64_t side) {
  SpectrumImage middle;
  middle.y = image.y;
  middle.x = image.x;
  middle.energy = image.energy;
  middle.y.size = std::min(side, image.y.size);
  middle.x.size = std::min(side, image.x.size);
  const int64_t top = (image.y.size - middle.y.size) / 2, left = (image.x.size - middle.x.size) / 2;
  middle.y.offset = image.y.value(static_cast<double>(top));
  middle.x.offset = image.x.value(static_cast<double>(left));
  for (int64_t y = top; y < top + middle.y.size; ++y) {
    const int64_t first = y * image.x.size + left;
    middle.counts.insert(middle.counts.end(), image.spectrum(first),
                         image.spectrum(first) + middle.x.size * image.energy.size);
    if (!image.excluded.empty())
      middle.excluded.insert(middle.excluded.end(), image.excluded.begin() + first,
                             image.excluded.begin() + first + middle.x.size);
  }
  return middle;
}

}  // namespace eelsvae
