#pragma once

#include <stdexcept>
#include <string>

namespace eelsvae {

// A mistake of the user or of the user's machine: a wrong file, a wrong key, too little memory. The text is
// one line that says what is wrong, where, and what would be right. Programs print it and exit with status 2;
// every other exception is a defect of the program or of a library it calls.
class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws std::logic_error; for conditions that only a defect in this program can break.
inline void expect(bool condition, const char* what) {
  if (!condition) throw std::logic_error(std::string("internal error: ") + what);
}

}  // namespace eelsvae
