#pragma once

#include <string>
#include <string_view>

namespace eelsvae {

// Writes a whole file, or leaves what was there: the bytes go to a file beside `path`, are flushed to the
// disk, and take the name in one step. Throws UserError with the path and the system's reason.
void write_whole_file(const std::string& path, std::string_view bytes);

}  // namespace eelsvae
