#pragma once

#include "engine/config.h"
#include "engine/image/image_to_read.h"
#include "include/eelsvae/eelsvae.h"

namespace eelsvae {

// An image in a caller's memory, of which only what is needed is copied; the memory must stay until that was
// done. data: of the configuration, for the pixels that it excludes besides the image's own mask. UserError
// for fields that make no image, and as exclude_rectangle().
ImageToRead image_of_caller(const eelsvae_image* image, const DataConfig& data);

eelsvae_image no_image();

// UserError for keys that name other files, which the library does not read.
void check_no_files(const Config& config);

}  // namespace eelsvae
