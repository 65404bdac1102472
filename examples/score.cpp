// Trains a model on an image, or takes one that is there, and says which spectra do not fit the rest.
//
//     score IMAGE HEIGHT WIDTH CHANNELS OFFSET DISPERSION MODEL [CONFIG]
//
// IMAGE: a file of float32 numbers, (y, x, energy) in C order. OFFSET and DISPERSION: of the energies, eV.
// MODEL: a checkpoint; with CONFIG, a file with a configuration, it is trained on the image and written
// there.
#include <array>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <eelsvae/eelsvae.hpp>

namespace api = eelsvae::api;

static std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

int main(int argc, char** argv) try {
  if (argc != 8 && argc != 9) {
    std::fprintf(stderr, "usage: %s IMAGE HEIGHT WIDTH CHANNELS OFFSET DISPERSION MODEL [CONFIG]\n", argv[0]);
    return 2;
  }
  const std::array<int64_t, 3> shape = {std::stoll(argv[2]), std::stoll(argv[3]), std::stoll(argv[4])};
  std::vector<float> counts(static_cast<size_t>(shape[0] * shape[1] * shape[2]));
  std::ifstream file(argv[1], std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(counts.data()),
                 static_cast<std::streamsize>(counts.size() * sizeof(float))))
    throw std::runtime_error(std::string(argv[1]) + ": does not hold so many numbers");
  const eelsvae_image image =
      api::image_of(counts.data(), shape[0], shape[1], shape[2], std::stod(argv[5]), std::stod(argv[6]));

  if (argc == 9) {
    api::Options options;
    options.log = [](int32_t, std::string_view text) {
      std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
    };
    api::Model::train(image, api::Config(read_file(argv[8])), options).save(argv[7]);
  }
  const api::Model model = api::Model::open(argv[7]);
  api::Options options;
  options.on_training_image = argc == 9;
  api::Session session(model, {}, options);
  const api::Detection found = session.detect(image);
  std::printf("%lld of %lld spectra do not fit (score above %.9g)\n",
              static_cast<long long>(found.anomalous_pixels()), static_cast<long long>(found.scored_pixels()),
              found.threshold());
  for (const std::string& reason : found.reasons()) std::printf("Not to be trusted: %s\n", reason.c_str());
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
