#pragma once

#include <functional>

#include "engine/stop_token.h"

namespace eelsvae {

// Runs a program's body and turns what it throws into what a user sees: a UserError is one line on stderr and
// exit status 2, a CLI11 error is printed by CLI11 itself before this, any other exception is reported as a
// defect with exit status 1. A file that becomes shorter while it is mapped ends the program with a line and
// status 2, there and then: what was being written stays under its temporary name. Interrupts are watched
// from here on; Interrupted ends the program with interrupted_status.
int run_program(const char* name, const std::function<int()>& body);

// Exit status of a program that was interrupted and saved its state.
constexpr int interrupted_status = 130;

// Asks to stop after the first Ctrl-C (SIGINT) or SIGTERM; the work at hand should finish its step, save and
// stop. A second one ends the process at once.
StopToken interruption();

}  // namespace eelsvae
