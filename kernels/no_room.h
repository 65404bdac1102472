#pragma once

#include "kernels/error.h"

namespace eelsvae {

// There is neither the memory nor the disk for an array: who asked for it may know how to do with less.
class NoRoom : public UserError {
 public:
  using UserError::UserError;
};

}  // namespace eelsvae
