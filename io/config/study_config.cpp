#include "io/config/study_config.h"

#include "io/config/config.h"
#include "io/config/config_document.h"

namespace eelsvae {

Study parse_study(std::string_view text, const std::string& origin,
                  const std::vector<std::string>& overrides) {
  return config_document::parse_document<Study>(text, origin, overrides);
}

Study read_study(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  return parse_study(read_config_text(path), path.string(), overrides);
}

std::string to_json_text(const Study& study) {
  return config_document::document_text(study);
}

void check_config(const Study& study, const std::string& origin) {
  check_config(study.config, origin);
  const Config& c = study.config;
  if (!c.data.data_path.empty() || c.data.exclude_path || !c.data.exclude.empty())
    throw UserError(origin +
                    ": data.data_path, data.exclude_path and data.exclude: a study simulates its data; leave "
                    "them out");
  if (c.preprocess.align_path)
    throw UserError(origin + ": preprocess.align_path: a study simulates its data, without low-loss images");
  if (c.detection.threshold)
    throw UserError(origin + ": detection.threshold: a study compares thresholds; leave it out");
  if (std::ssize(study.evaluation.defects) * std::ssize(study.evaluation.amounts) > 60000)
    throw UserError(origin +
                    ": evaluation.defects and evaluation.amounts: more than 60000 recordings a seed");
}

std::string study_reference_markdown() {
  return config_document::reference_tables<Study>(
      [](const char* group) { return std::string_view(group) == "evaluation"; });
}

}  // namespace eelsvae
