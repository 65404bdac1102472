#pragma once

#include <string>
#include <vector>

#include "io/study_report.h"

namespace eelsvae {

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
