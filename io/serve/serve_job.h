#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/simplon/frame_sum.h"

namespace eelsvae {

// The job of eelsvae-serve, by what its command line asks for; empty: not given.
struct ServeRequest {
  std::string state;     // of a detection: a file or the detection's folder
  std::string model;     // that it was made with, if it was: a run or a file; or instead
  std::string baseline;  // its name, learned from each scan's first rows
  std::optional<uint64_t> learn_rows;
  std::optional<double> train;         // minutes for a network that learns from the first scan, meanwhile
  std::optional<uint64_t> train_rows;  // of it, with which that begins
  std::string output;                  // where the scan and the network go
  std::string config;                  // that the baseline takes preprocessing and detection from
  std::vector<std::string> settings;   // KEY=VALUE, for the baseline, or of the model's device
  std::string listen = "tcp://127.0.0.1:5725";
  std::string keys;              // the service's file
  std::string make_keys;         // make two files of keys, and nothing else
  std::optional<uint64_t> page;  // port; 0: any that is free
  uint64_t window = 32;          // MiB that a sender may have outstanding
  // Of a DECTRIS detector whose scans are scored:
  std::string simplon;                              // its address
  std::string scan;                                 // "HEIGHT,WIDTH"
  std::optional<double> energy_offset, dispersion;  // eV
  std::string region;                               // rows and columns, "100:150,0:1028"
  std::string channel;                              // of several thresholds
  std::string forward;                              // address for the next receiver
  std::optional<uint64_t> queue;                    // MiB of spectra that may wait to be scored
};

// "FIRST:LAST" of rows, then, if wanted, a comma and the same of columns; a number that is left out is that
// of the edge. UserError.
DetectorRegion parse_region(const std::string& text);
// "HEIGHT,WIDTH". UserError.
std::array<int64_t, 2> parse_scan_shape(const std::string& text);

// Serves until Ctrl-C or SIGTERM. Returns the program's exit status. UserError for the user's mistakes,
// before anything is listened at.
int run_serve(const ServeRequest& request);

}  // namespace eelsvae
