// Says what a checkpoint was trained on, from its header alone.
#include <cstdio>

#include "io/files/safetensors.h"
#include "io/model/checkpoint.h"

int main(int, char** argv) {
  const eelsvae::CheckpointInfo info = eelsvae::read_checkpoint_info(eelsvae::SafetensorsFile(argv[1]));
  std::printf("%lld channels from %g %s\n", static_cast<long long>(info.energy.size), info.energy.offset,
              info.energy.units.c_str());
}
