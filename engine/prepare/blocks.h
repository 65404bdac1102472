#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/image/image_to_read.h"

namespace eelsvae {

// Cuts a part of an image into blocks that are read one after the other, each of about `bytes` of counts, in
// the order y, x, E, E fastest. A block's bins are whole: it begins a multiple of `bins` (y, x, E) after the
// part's first element, so that only what makes no bin may be left over at the part's end. `together` are the
// elements along the axes that a file unpacks together (ImageToRead::together): a block holds at least that
// many, whatever its size, and ends where they do if a bin does, too. Nothing is then unpacked twice; of the
// others what lies on both sides of an end, which is at most once again along each axis.
std::vector<ImagePart> blocks_of(const ImagePart& part, const std::array<int64_t, 3>& together,
                                 const std::array<int64_t, 3>& bins, size_t bytes);

// "2.6 GB of spectra do not fit into memory and lie in scratch files in /var/tmp", "" where there are none.
std::string scratch_note();

}  // namespace eelsvae
