#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/study/study.h"

namespace eelsvae {

// A finished study, for people and programs to read. Nothing in it depends on when it was made.
struct StudyReport {
  Study study;
  std::vector<StudyResult> results;  // in the order of the plan
  std::string version, device;       // of the program; as the backend describes itself
};

// What was printed of the published experiment (arXiv 2412.16200): shift in channels, then scores of the
// 3D-CVAE and F1 of PCA with 3, 4 and 5 components.
struct PublishedRow {
  int64_t shift;
  double f1, precision, recall, pca3, pca4, pca5;
};
const std::vector<PublishedRow>& published_table();

// A table of a study's report, as text.
struct StudyTable {
  std::string heading, note;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;  // as many cells as columns
};

// Every table, in the order of reading: the published study beside what was printed, the methods' best
// scores, then for each preset the honest study, false-discovery rates, alarms on normal specimens,
// reconstruction quality, and the sweeps.
std::vector<StudyTable> study_tables(const StudyReport& report);

// "0.05 %", "60 anomalies"
std::string amount_text(double amount);
// "PCA 3 (contaminated)", "model"
std::string source_text(const std::string& source, const std::string& footing);
// Of the requested rates the one nearest to detection.fdr, for tables that show one threshold.
double shown_rate(const Study& study);

}  // namespace eelsvae
