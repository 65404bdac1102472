#pragma once

#include <string>
#include <vector>

#include "engine/stop_token.h"
#include "io/files/provenance.h"

namespace eelsvae {

// Size and SHA-256 of files, which are read whole; those of an image are image_files(). UserError if one
// cannot be read.
std::vector<InputFile> record_inputs(const std::vector<std::string>& paths, const StopToken& stop = {});

}  // namespace eelsvae
