#include "include/eelsvae/eelsvae.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "interface/caller_image.h"
#include "interface/guard.h"
#include "interface/model_in_memory.h"
#include "interface/scan.h"
#include "interface/session.h"
#include "io/config/config.h"
#include "io/files/atomic_file.h"

// The functions of the C header: what a caller gives is checked and handed on to C++.

using namespace eelsvae;

struct eelsvae_config {
  Config config;
  std::vector<std::string> settings;  // what was given, as "key=value"
  std::string text;
};

struct eelsvae_model {
  std::shared_ptr<const ModelInMemory> model;
};

struct eelsvae_session {
  template <class... Arguments>
  explicit eelsvae_session(Arguments&&... arguments) : session(std::forward<Arguments>(arguments)...) {}
  Session session;
  std::atomic_flag at_work = ATOMIC_FLAG_INIT;
};

struct eelsvae_state {
  std::shared_ptr<const StateInMemory> state;
};

struct eelsvae_scan {
  template <class... Arguments>
  explicit eelsvae_scan(Arguments&&... arguments) : scan(std::forward<Arguments>(arguments)...) {}
  ScanForCaller scan;
  std::atomic_flag at_work = ATOMIC_FLAG_INIT;
};

struct eelsvae_detection {
  std::shared_ptr<const FoundForCaller> result;
};

namespace {

// Where a call leaves an object: NULL until it is there.
template <class T>
T*& place_for(T** place, const char* name) {
  T*& object = needed(place, name);
  object = nullptr;
  return object;
}

template <class T>
void write_if_wanted(T* to, T value) {
  if (to) *to = value;
}

eelsvae_options empty_options() {
  eelsvae_options options{};
  options.struct_size = sizeof options;
  return options;
}

// As set_value(), whose messages are for users of the programs' --set.
void set_key(Config& config, const std::string& assignment) {
  try {
    set_value(config, assignment);
  } catch (const UserError& error) {
    const std::string text = error.what(), option = "--set ";
    throw UserError(text.starts_with(option) ? text.substr(option.size()) : text);
  }
}

const FoundForCaller& result_of(const eelsvae_detection* detection) {
  return *needed(detection, "detection").result;
}

// Into memory of the caller's, who has to know how much it is.
template <class Values, class T>
void copy_out(const Values& values, T* to, size_t count, const char* name) {
  if (count != values.size())
    throw UserError(std::string(name) + ": there is room for " + std::to_string(count) + " elements, and " +
                    std::to_string(values.size()) + " are there; give as many");
  std::copy(values.begin(), values.end(), &needed(to, name));
}

void copy_spectra(const CountArray& spectra, float* to, size_t count) {
  if (spectra.empty())
    throw UserError("the detection kept no spectra; set keep_spectra in the options of the session");
  copy_out(spectra, to, count, "spectra");
}

// Of an object for one thread at a time, while its call is at work.
class AtWork {
 public:
  AtWork(std::atomic_flag& flag, const char* name) : flag_(flag) {
    if (flag.test_and_set(std::memory_order_acquire))
      throw UserError(std::string(name) + ": another call of it is at work; make a " + name +
                      " for each thread");
  }
  ~AtWork() { flag_.clear(std::memory_order_release); }
  AtWork(const AtWork&) = delete;
  AtWork& operator=(const AtWork&) = delete;

 private:
  std::atomic_flag& flag_;
};

template <class Work>
eelsvae_status of_scan(eelsvae_scan* scan, eelsvae_rows* rows, const Work& work) {
  return guarded([&] {
    eelsvae_scan& there = needed(scan, "scan");
    const AtWork at_work(there.at_work, "scan");
    const Rows made = work(there.scan);
    write_if_wanted(rows, {made.first, made.last});
  });
}

template <class List>
const typename List::value_type& entry(const List& list, int64_t index, const char* what) {
  if (index < 0 || index >= std::ssize(list))
    throw UserError("index " + std::to_string(index) + ": there are " + std::to_string(list.size()) + " " +
                    what + ", counted from 0");
  return list[static_cast<size_t>(index)];
}

}  // namespace

extern "C" {

uint32_t eelsvae_abi_version(void) {
  return EELSVAE_ABI_VERSION;
}

const char* eelsvae_version(void) {
  return EELSVAE_VERSION;
}

const char* eelsvae_last_message(void) {
  return last_message();
}

eelsvae_status eelsvae_config_create(const char* json, eelsvae_config** config) {
  return guarded([&] {
    eelsvae_config*& created = place_for(config, "config");
    auto made = std::make_unique<eelsvae_config>();
    if (json) {
      made->config = parse_config_alone(json, "configuration");
      made->settings = assignments_of(json, "configuration");
    }
    made->text = to_json_text(made->config);
    created = made.release();
  });
}

eelsvae_status eelsvae_config_set(eelsvae_config* config, const char* assignment) {
  return guarded([&] {
    eelsvae_config& there = needed(config, "config");
    eelsvae_config changed = there;
    set_key(changed.config, &needed(assignment, "assignment"));
    changed.settings.emplace_back(assignment);
    changed.text = to_json_text(changed.config);
    there = std::move(changed);
  });
}

eelsvae_status eelsvae_config_json(const eelsvae_config* config, const char** json) {
  return guarded([&] { needed(json, "json") = needed(config, "config").text.c_str(); });
}

void eelsvae_config_destroy(eelsvae_config* config) {
  delete config;
}

eelsvae_status eelsvae_image_init(eelsvae_image* image, size_t struct_size) {
  return guarded([&] { hand_out(no_image(), image, struct_size, sizeof(eelsvae_image), "image"); });
}

eelsvae_status eelsvae_options_init(eelsvae_options* options, size_t struct_size) {
  return guarded(
      [&] { hand_out(empty_options(), options, struct_size, sizeof(eelsvae_options), "options"); });
}

eelsvae_status eelsvae_model_open(const char* path, eelsvae_model** model) {
  return guarded([&] {
    eelsvae_model*& opened = place_for(model, "model");
    opened = new eelsvae_model{open_model(&needed(path, "path"))};
  });
}

eelsvae_status eelsvae_model_from_memory(const void* content, size_t size, eelsvae_model** model) {
  return guarded([&] {
    eelsvae_model*& opened = place_for(model, "model");
    if (!content) throw UserError("content is NULL; give the bytes of a checkpoint");
    if (size > size_t{1} << 62) throw UserError("size: no checkpoint has so many bytes");
    const auto* first = static_cast<const std::byte*>(content);
    opened = new eelsvae_model{
        std::make_shared<ModelInMemory>(std::vector(first, first + size), "the model in memory")};
  });
}

eelsvae_status eelsvae_model_train(const eelsvae_image* image, const eelsvae_config* config,
                                   const eelsvae_options* options, eelsvae_model** model) {
  return guarded([&] {
    eelsvae_model*& trained = place_for(model, "model");
    Caller caller(options);
    const Config given = config ? config->config : Config();
    check_config(given, "configuration");
    bool stopped = false;
    if (auto made = train_model(image, given, caller, stopped)) trained = new eelsvae_model{std::move(made)};
    if (stopped) throw Interrupted();
  });
}

eelsvae_status eelsvae_model_save(const eelsvae_model* model, const char* path) {
  return guarded([&] {
    const std::vector<std::byte>& content = needed(model, "model").model->content;
    AtomicFile file(&needed(path, "path"));
    file.write(content.data(), content.size());
    file.commit();
  });
}

eelsvae_status eelsvae_model_content(const eelsvae_model* model, const void** content, size_t* size) {
  return guarded([&] {
    const std::vector<std::byte>& bytes = needed(model, "model").model->content;
    size_t& count = needed(size, "size");
    needed(content, "content") = bytes.data();
    count = bytes.size();
  });
}

eelsvae_status eelsvae_model_energy(const eelsvae_model* model, double* offset, double* dispersion,
                                    int64_t* channels) {
  return guarded([&] {
    const Axis& energy = needed(model, "model").model->info.energy;
    write_if_wanted(offset, energy.offset);
    write_if_wanted(dispersion, energy.scale);
    write_if_wanted(channels, energy.size);
  });
}

eelsvae_status eelsvae_model_tile_size(const eelsvae_model* model, int64_t* pixels) {
  return guarded(
      [&] { needed(pixels, "pixels") = needed(model, "model").model->info.config.tiles.image_size; });
}

eelsvae_status eelsvae_model_config(const eelsvae_model* model, const char** json) {
  return guarded([&] { needed(json, "json") = needed(model, "model").model->config_text.c_str(); });
}

void eelsvae_model_destroy(eelsvae_model* model) {
  delete model;
}

eelsvae_status eelsvae_session_create(const eelsvae_model* model, const eelsvae_config* config,
                                      const eelsvae_options* options, eelsvae_session** session) {
  return guarded([&] {
    eelsvae_session*& created = place_for(session, "session");
    const std::vector<std::string> settings = config ? config->settings : std::vector<std::string>();
    created = new eelsvae_session(needed(model, "model").model, settings, options);
  });
}

eelsvae_status eelsvae_session_create_baseline(const char* baseline, const eelsvae_config* config,
                                               const eelsvae_options* options, eelsvae_session** session) {
  return guarded([&] {
    eelsvae_session*& created = place_for(session, "session");
    const Config given = config ? config->config : Config();
    check_config(given, "configuration");
    created = new eelsvae_session(std::string(&needed(baseline, "baseline")), given, options);
  });
}

eelsvae_status eelsvae_session_create_with_state(const eelsvae_model* model, const eelsvae_state* state,
                                                 const eelsvae_config* config, const eelsvae_options* options,
                                                 eelsvae_session** session) {
  return guarded([&] {
    eelsvae_session*& created = place_for(session, "session");
    created = new eelsvae_session(model ? model->model : nullptr, needed(state, "state").state,
                                  config ? config->settings : std::vector<std::string>(), options);
  });
}

eelsvae_status eelsvae_session_detect(eelsvae_session* session, const eelsvae_image* image,
                                      eelsvae_detection** detection) {
  return guarded([&] {
    eelsvae_detection*& found = place_for(detection, "detection");
    eelsvae_session& worker = needed(session, "session");
    const AtWork at_work(worker.at_work, "session");
    found = new eelsvae_detection{worker.session.detect(image)};
  });
}

eelsvae_status eelsvae_session_detect_fitted(eelsvae_session* session, const eelsvae_image* image,
                                             const eelsvae_image* normal, eelsvae_detection** detection) {
  return guarded([&] {
    eelsvae_detection*& found = place_for(detection, "detection");
    eelsvae_session& worker = needed(session, "session");
    const AtWork at_work(worker.at_work, "session");
    found = new eelsvae_detection{worker.session.detect(image, &needed(normal, "normal"))};
  });
}

eelsvae_status eelsvae_session_stop(eelsvae_session* session) {
  return guarded([&] { needed(session, "session").session.stop(); });
}

void eelsvae_session_destroy(eelsvae_session* session) {
  delete session;
}

eelsvae_status eelsvae_detection_size(const eelsvae_detection* detection, int64_t* height, int64_t* width) {
  return guarded([&] {
    const SpectrumImage& image = result_of(detection).prepared.image;
    write_if_wanted(height, image.y.size);
    write_if_wanted(width, image.x.size);
  });
}

eelsvae_status eelsvae_detection_energy(const eelsvae_detection* detection, double* offset,
                                        double* dispersion, int64_t* channels) {
  return guarded([&] {
    const Axis& energy = result_of(detection).prepared.image.energy;
    write_if_wanted(offset, energy.offset);
    write_if_wanted(dispersion, energy.scale);
    write_if_wanted(channels, energy.size);
  });
}

eelsvae_status eelsvae_detection_scores(const eelsvae_detection* detection, float* scores, size_t count) {
  return guarded([&] { copy_out(result_of(detection).found.scores, scores, count, "scores"); });
}

eelsvae_status eelsvae_detection_mask(const eelsvae_detection* detection, uint8_t* mask, size_t count) {
  return guarded([&] { copy_out(result_of(detection).found.mask, mask, count, "mask"); });
}

eelsvae_status eelsvae_detection_observed(const eelsvae_detection* detection, float* spectra, size_t count) {
  return guarded([&] { copy_spectra(result_of(detection).prepared.image.counts, spectra, count); });
}

eelsvae_status eelsvae_detection_expected(const eelsvae_detection* detection, float* spectra, size_t count) {
  return guarded([&] { copy_spectra(result_of(detection).expected, spectra, count); });
}

eelsvae_status eelsvae_detection_threshold(const eelsvae_detection* detection, double* threshold) {
  return guarded([&] { needed(threshold, "threshold") = result_of(detection).found.threshold; });
}

eelsvae_status eelsvae_detection_pixels(const eelsvae_detection* detection, int64_t* anomalous,
                                        int64_t* scored) {
  return guarded([&] {
    const FoundForCaller& result = result_of(detection);
    write_if_wanted(anomalous, result.found.anomalous_pixels());
    write_if_wanted(scored, result.scored_pixels);
  });
}

eelsvae_status eelsvae_detection_trusted(const eelsvae_detection* detection, int32_t* trusted,
                                         int64_t* reasons) {
  return guarded([&] {
    const Detection& found = result_of(detection).found;
    write_if_wanted(trusted, int32_t{found.trusted()});
    write_if_wanted(reasons, static_cast<int64_t>(found.doubts.size()));
  });
}

eelsvae_status eelsvae_detection_reason(const eelsvae_detection* detection, int64_t index,
                                        const char** reason) {
  return guarded(
      [&] { needed(reason, "reason") = entry(result_of(detection).found.doubts, index, "reasons").c_str(); });
}

eelsvae_status eelsvae_detection_regions(const eelsvae_detection* detection, int64_t* count) {
  return guarded(
      [&] { needed(count, "count") = static_cast<int64_t>(result_of(detection).found.regions.size()); });
}

eelsvae_status eelsvae_detection_region(const eelsvae_detection* detection, int64_t index,
                                        eelsvae_region* region) {
  return guarded([&] {
    const FoundForCaller& result = result_of(detection);
    eelsvae_region& place = needed(region, "region");
    const Region& found = entry(result.found.regions, index, "regions");
    const int64_t width = result.prepared.image.x.size;
    const eelsvae_region told{
        sizeof(eelsvae_region),  static_cast<int64_t>(found.pixels.size()),
        found.strongest / width, found.strongest % width,
        found.highest_score,     result.explanations[static_cast<size_t>(index)].c_str()};
    hand_out(told, &place, place.struct_size, sizeof(eelsvae_region), "region");
  });
}

eelsvae_status eelsvae_detection_summary(const eelsvae_detection* detection, const char** json) {
  return guarded([&] { needed(json, "json") = result_of(detection).summary.c_str(); });
}

void eelsvae_detection_destroy(eelsvae_detection* detection) {
  delete detection;
}

eelsvae_status eelsvae_state_open(const char* path, eelsvae_state** state) {
  return guarded([&] {
    eelsvae_state*& opened = place_for(state, "state");
    opened = new eelsvae_state{open_state(&needed(path, "path"))};
  });
}

eelsvae_status eelsvae_state_from_memory(const void* content, size_t size, eelsvae_state** state) {
  return guarded([&] {
    eelsvae_state*& made = place_for(state, "state");
    needed(static_cast<const char*>(content), "content");
    made = new eelsvae_state{state_from(content, size)};
  });
}

eelsvae_status eelsvae_state_learn(const eelsvae_image* image, const char* baseline,
                                   const eelsvae_config* config, eelsvae_state** state) {
  return guarded([&] {
    eelsvae_state*& learned = place_for(state, "state");
    learned = new eelsvae_state{
        learn_state_of(image, &needed(baseline, "baseline"), config ? config->config : Config())};
  });
}

eelsvae_status eelsvae_state_save(const eelsvae_state* state, const char* path) {
  return guarded([&] {
    const std::vector<std::byte>& content = needed(state, "state").state->content;
    AtomicFile file(&needed(path, "path"));
    file.write(content.data(), content.size());
    file.commit();
  });
}

eelsvae_status eelsvae_state_content(const eelsvae_state* state, const void** content, size_t* size) {
  return guarded([&] {
    const std::vector<std::byte>& bytes = needed(state, "state").state->content;
    needed(content, "content") = bytes.data();
    needed(size, "size") = bytes.size();
  });
}

eelsvae_status eelsvae_state_energy(const eelsvae_state* state, double* offset, double* dispersion,
                                    int64_t* channels) {
  return guarded([&] {
    const Axis& energy = needed(state, "state").state->state->fitted.energy;
    write_if_wanted(offset, energy.offset);
    write_if_wanted(dispersion, energy.scale);
    write_if_wanted(channels, energy.size);
  });
}

void eelsvae_state_destroy(eelsvae_state* state) {
  delete state;
}

eelsvae_status eelsvae_plan_init(eelsvae_plan* plan, size_t struct_size) {
  return guarded([&] { hand_out(no_plan(), plan, struct_size, sizeof(eelsvae_plan), "plan"); });
}

eelsvae_status eelsvae_scan_create(const eelsvae_state* state, const eelsvae_plan* plan,
                                   const eelsvae_options* options, eelsvae_scan** scan) {
  return guarded([&] {
    eelsvae_scan*& created = place_for(scan, "scan");
    created = new eelsvae_scan(needed(state, "state").state, plan, options);
  });
}

eelsvae_status eelsvae_scan_create_with_model(const eelsvae_model* model, const eelsvae_state* state,
                                              const eelsvae_config* config, const eelsvae_plan* plan,
                                              const eelsvae_options* options, eelsvae_scan** scan) {
  return guarded([&] {
    eelsvae_scan*& created = place_for(scan, "scan");
    created = new eelsvae_scan(*needed(model, "model").model, needed(state, "state").state,
                               config ? config->settings : std::vector<std::string>(), plan, options);
  });
}

eelsvae_status eelsvae_detection_state(const eelsvae_detection* detection, eelsvae_state** state) {
  return guarded([&] {
    eelsvae_state*& kept = place_for(state, "state");
    const FoundForCaller& result = result_of(detection);
    if (!result.state)
      throw UserError(
          "the detection has no state that could be kept: detection.score whitened or learned, "
          "threshold_method "
          "fdr, no pooling, despiking, aligning nor binning of pixels have one");
    kept = new eelsvae_state{result.state};
  });
}

eelsvae_status eelsvae_scan_create_learning(const char* baseline, int64_t rows, const eelsvae_config* config,
                                            const eelsvae_plan* plan, const eelsvae_options* options,
                                            eelsvae_scan** scan) {
  return guarded([&] {
    eelsvae_scan*& created = place_for(scan, "scan");
    created = new eelsvae_scan(std::string(&needed(baseline, "baseline")), rows,
                               config ? config->config : Config(), plan, options);
  });
}

eelsvae_status eelsvae_scan_push(eelsvae_scan* scan, int64_t first, int64_t count, const void* spectra,
                                 int32_t type, eelsvae_rows* final) {
  return of_scan(scan, final, [&](ScanForCaller& there) { return there.push(first, count, spectra, type); });
}

eelsvae_status eelsvae_scan_score_provisionally(eelsvae_scan* scan, eelsvae_rows* rows) {
  return of_scan(scan, rows, [](ScanForCaller& there) { return there.score_provisionally(); });
}

eelsvae_status eelsvae_scan_finish(eelsvae_scan* scan, eelsvae_rows* final) {
  return of_scan(scan, final, [](ScanForCaller& there) { return there.finish(); });
}

eelsvae_status eelsvae_scan_get_status(const eelsvae_scan* scan, eelsvae_scan_status* status) {
  return guarded([&] {
    const auto look = [](const RowSession& session) {
      const ScanCounts& counts = session.counts();
      eelsvae_scan_status now{};
      now.complete_rows = session.complete_rows();
      now.final_rows = session.final_rows();
      now.scored_rows = session.scored_rows();
      now.reach = session.reach();
      now.received = counts.received;
      now.repeated = counts.repeated;
      now.late = counts.late;
      now.missing = counts.missing;
      now.threshold = session.threshold();
      now.finished = session.finished();
      now.learning = !session.state();
      return now;
    };
    hand_out(needed(scan, "scan").scan.look_at(look), status, needed(status, "status").struct_size,
             sizeof(eelsvae_scan_status), "status");
  });
}

eelsvae_status eelsvae_scan_scores(const eelsvae_scan* scan, int64_t first, int64_t rows, float* scores,
                                   size_t count) {
  return guarded([&] {
    needed(scan, "scan").scan.look_at([&](const RowSession& session) {
      if (first < 0 || rows < 0 || first > session.height() - rows)
        throw UserError("rows " + std::to_string(first) + " to " + std::to_string(first) + " + " +
                        std::to_string(rows) + " are not in a scan of " + std::to_string(session.height()));
      copy_out(session.scores().subspan(static_cast<size_t>(first * session.width()),
                                        static_cast<size_t>(rows * session.width())),
               scores, count, "scores");
    });
  });
}

eelsvae_status eelsvae_scan_detection(const eelsvae_scan* scan, eelsvae_detection** detection) {
  return guarded([&] {
    eelsvae_detection*& found = place_for(detection, "detection");
    found = new eelsvae_detection{needed(scan, "scan").scan.found()};
  });
}

eelsvae_status eelsvae_scan_state(const eelsvae_scan* scan, eelsvae_state** state) {
  return guarded([&] {
    eelsvae_state*& kept = place_for(state, "state");
    kept = new eelsvae_state{needed(scan, "scan").scan.state()};
  });
}

void eelsvae_scan_destroy(eelsvae_scan* scan) {
  delete scan;
}

}  // extern "C"
