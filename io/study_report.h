#pragma once

#include <string>
#include <vector>

#include "engine/study.h"

namespace eelsvae {

// A finished study, for people and programs to read. Nothing in it depends on when it was made.
struct StudyReport {
  Study study;
  std::vector<StudyResult> results;  // in the order of the plan
  std::string version, device;       // of the program; as the backend describes itself
};

// results.json: configuration, published table, every cell, and what is summed up over the seeds.
std::string study_json_text(const StudyReport& report);
// tables.md
std::string study_markdown(const StudyReport& report);
// report.html: figures, with the tables below; needs nothing else, not even a network.
std::string study_html(const StudyReport& report);

// What was printed of the published experiment (arXiv 2412.16200): shift in channels, then scores of the
// 3D-CVAE and F1 of PCA with 3, 4 and 5 components.
struct PublishedRow {
  int64_t shift;
  double f1, precision, recall, pca3, pca4, pca5;
};
const std::vector<PublishedRow>& published_table();

}  // namespace eelsvae
