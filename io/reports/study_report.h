#pragma once

#include <string>

#include "io/reports/study_tables.h"

namespace eelsvae {

// results.json: configuration, published table, every cell, and what is summed up over the seeds.
std::string study_json_text(const StudyReport& report);
// tables.md
std::string study_markdown(const StudyReport& report);
// report.html: figures, with the tables below; needs nothing else, not even a network.
std::string study_html(const StudyReport& report);

}  // namespace eelsvae
