#pragma once

#include <string>
#include <vector>

#include "engine/stop_token.h"
#include "io/files/provenance.h"

namespace eelsvae {

// Size and SHA-256 of files, which are read whole; those of an image are image_files(). That of a folder is
// the SHA-256 of the lines that sha256sum prints of the files below it, by their names in it, in the order of
// these. UserError if one cannot be read.
std::vector<InputFile> record_inputs(const std::vector<std::string>& paths, const StopToken& stop = {});

}  // namespace eelsvae
