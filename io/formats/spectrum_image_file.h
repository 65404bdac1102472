#pragma once

#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/image/image_to_read.h"
#include "engine/stop_token.h"
#include "io/formats/image_format.h"

namespace eelsvae {

// The images of a file, from its headers. UserError if the file cannot be read or is of no known format.
std::vector<StoredImage> open_images(const std::string& path);
std::vector<ImageInfo> list_images(const std::string& path);

// The format's name, "HyperSpy"; errors as list_images.
std::string image_format_name(const std::string& path);

// The files that it reads: this one and what lies beside it; errors as list_images.
std::vector<std::string> image_files(const std::string& path);

// A spectrum image (y, x, E) with energy in eV and lengths in nm, whose counts are still to be read: only the
// headers were. The dataset is an index into
// list_images(); -1 chooses among the spectrum images of signal EELS, or else those that name no signal, or
// else the line scans, which are one row: the image that holds most of the energy range, or else the first
// that is no low loss. SpectrumImage::notes then says which, and names the others. UserError if there is no
// such image, if it is not a spectrum image (any three axes will do where the options name another order than
// yxE), is empty, has an unusable axis, none of the energy range, or a unit that is no energy; from reading,
// if the part that is read does not fit into memory or scratch files or the file is damaged there, and
// Interrupted if it was asked to stop.
ImageToRead open_spectrum_image(const std::string& path, const ReadOptions& options = {},
                                const StopToken& stop = {});

// The whole of it, read. UserError, too, if it holds a value that is not finite; `all_finite`, if not null,
// is told whether all values are, and then none is refused.
SpectrumImage read_spectrum_image(const std::string& path, const ReadOptions& options = {},
                                  bool* all_finite = nullptr, const StopToken& stop = {});

// Which image of a file is a low loss: the first readable one of EELS, or without a signal, whose energies
// begin below 30 eV; an index into list_images(), -1 if there is none.
int64_t low_loss_image(const std::string& path);

}  // namespace eelsvae
