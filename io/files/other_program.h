#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace eelsvae {

// Programs that come with this one and work for it.

// Its path: what the environment variable says, if it is set; otherwise the program is looked for where the
// program or library that holds this code lies, then where the running program lies, then in the folders of
// PATH, and last where `make install` puts it: in each folder, the one above, and ../libexec/eelsvae.
// UserError where it is nowhere, with what would be right.
std::string find_program(const std::string& name, const std::string& variable);

// Starts it, not by a fork of this process, which may have threads. It has nothing of this process's: no open
// files but `input`, if that is not -1, as its standard input; signals as at the start of a program; and
// Ctrl-C in the terminal is not for it. What it writes goes to the end of the file `output`, or nowhere
// ("/dev/null"). 0, or the number of the error.
int start_program(const std::string& program, const std::vector<std::string>& arguments, int input,
                  const std::string& output, pid_t& process);

// What such a program has said last: the last line of its output file that is not empty; "" where there is
// none.
std::string last_line_of(const std::string& output);

}  // namespace eelsvae
