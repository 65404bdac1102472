// eelsvae.h for C++17: objects that give themselves back, errors as exceptions, callbacks as std::function.
// Nothing but calls of eelsvae.h, so that it may be compiled by any compiler, whatever the library was
// compiled with.
#ifndef EELSVAE_EELSVAE_HPP
#define EELSVAE_EELSVAE_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "eelsvae.h"

// The libraries in C++ that are installed, too, have names of their own in namespace eelsvae.
namespace eelsvae::api {

// What a call had to say that did not do its work.
class Error : public std::runtime_error {
 public:
  Error(eelsvae_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  eelsvae_status status() const { return status_; }  // EELSVAE_MISTAKE and so on

 private:
  eelsvae_status status_;
};

// The work was asked to stop.
class Stopped : public Error {
 public:
  using Error::Error;
};

inline void check(eelsvae_status status) {
  if (status == EELSVAE_OK) return;
  if (status == EELSVAE_STOPPED) throw Stopped(status, eelsvae_last_message());
  throw Error(status, eelsvae_last_message());
}

// Gives objects of the C interface back.
struct Destroy {
  void operator()(eelsvae_config* object) const { eelsvae_config_destroy(object); }
  void operator()(eelsvae_model* object) const { eelsvae_model_destroy(object); }
  void operator()(eelsvae_session* object) const { eelsvae_session_destroy(object); }
  void operator()(eelsvae_detection* object) const { eelsvae_detection_destroy(object); }
  void operator()(eelsvae_state* object) const { eelsvae_state_destroy(object); }
  void operator()(eelsvae_scan* object) const { eelsvae_scan_destroy(object); }
};
template <class Object>
using Handle = std::unique_ptr<Object, Destroy>;

// EELSVAE_INT8 and so on, of a type of C++.
template <class T>
constexpr int32_t type_of() {
  static_assert(std::is_integral_v<T> || std::is_same_v<T, float> || std::is_same_v<T, double>,
                "an image holds whole numbers, float or double");
  if constexpr (std::is_same_v<T, float>) return EELSVAE_FLOAT32;
  if constexpr (std::is_same_v<T, double>) return EELSVAE_FLOAT64;
  constexpr bool is_signed = std::is_signed_v<T>;
  switch (sizeof(T)) {
    case 1:
      return is_signed ? EELSVAE_INT8 : EELSVAE_UINT8;
    case 2:
      return is_signed ? EELSVAE_INT16 : EELSVAE_UINT16;
    case 4:
      return is_signed ? EELSVAE_INT32 : EELSVAE_UINT32;
  }
  return is_signed ? EELSVAE_INT64 : EELSVAE_UINT64;
}

// Counts (y, x, energy) in C order, energy_offset and dispersion in eV. The memory must stay while the image
// is used. Strides and the mask of excluded pixels are fields of the result.
template <class T>
eelsvae_image image_of(const T* counts, int64_t height, int64_t width, int64_t channels, double energy_offset,
                       double dispersion) {
  eelsvae_image image;
  check(eelsvae_image_init(&image, sizeof image));
  image.data = counts;
  image.type = type_of<T>();
  image.shape[0] = height;
  image.shape[1] = width;
  image.shape[2] = channels;
  image.energy_offset = energy_offset;
  image.dispersion = dispersion;
  return image;
}

// As eelsvae_options has them.
struct Options {
  int32_t threads = 0;
  bool on_training_image = false, keep_spectra = false;
  // level: EELSVAE_LOG_INFO or more
  std::function<void(int32_t level, std::string_view text)> log = {};
  // false stops the work
  std::function<bool(std::string_view stage, int64_t done, int64_t total)> progress = {};
};

// Options while they are in use. What a callback throws stops the work and comes out of the call.
class Caller {
 public:
  explicit Caller(Options options) : options_(std::move(options)) {
    check(eelsvae_options_init(&given_, sizeof given_));
    given_.threads = options_.threads;
    given_.on_training_image = options_.on_training_image;
    given_.keep_spectra = options_.keep_spectra;
    given_.log_user = given_.progress_user = this;
    if (options_.log) given_.log = log;
    given_.progress = progress;
  }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  const eelsvae_options* given() const { return &given_; }
  void check_call(eelsvae_status status) {
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
    check(status);
  }

 private:
  static void log(void* user, int32_t level, const char* text) {
    auto* caller = static_cast<Caller*>(user);
    try {
      caller->options_.log(level, text);
    } catch (...) {
      caller->thrown_ = std::current_exception();
    }
  }
  static int32_t progress(void* user, const char* stage, int64_t done, int64_t total) {
    auto* caller = static_cast<Caller*>(user);
    try {
      if (!caller->thrown_ && caller->options_.progress && !caller->options_.progress(stage, done, total))
        return 1;
    } catch (...) {
      caller->thrown_ = std::current_exception();
    }
    return caller->thrown_ ? 1 : 0;
  }

  Options options_;
  eelsvae_options given_;
  std::exception_ptr thrown_;
};

class Config {
 public:
  // json: see eelsvae_config_create(); without it the defaults.
  Config() : Config(nullptr) {}
  explicit Config(const std::string& json) : Config(json.c_str()) {}
  explicit Config(const char* json) {
    eelsvae_config* made = nullptr;
    check(eelsvae_config_create(json, &made));
    handle_.reset(made);
  }
  // "detection.fdr=0.01"
  Config& set(const std::string& assignment) {
    check(eelsvae_config_set(handle_.get(), assignment.c_str()));
    return *this;
  }
  std::string json() const {
    const char* text = nullptr;
    check(eelsvae_config_json(handle_.get(), &text));
    return text;
  }
  const eelsvae_config* get() const { return handle_.get(); }

 private:
  Handle<eelsvae_config> handle_;
};

struct EnergyAxis {
  double offset = 0, dispersion = 0;  // eV
  int64_t channels = 0;
};

// May be used by several threads at once.
class Model {
 public:
  static Model open(const std::string& path) {
    return make([&](eelsvae_model** made) { return eelsvae_model_open(path.c_str(), made); });
  }
  static Model from_memory(const void* content, size_t size) {
    return make([&](eelsvae_model** made) { return eelsvae_model_from_memory(content, size, made); });
  }
  // Stopped where the progress says so; who wants the best model until then uses eelsvae_model_train().
  static Model train(const eelsvae_image& image, const Config& config = Config(), Options options = {}) {
    Caller caller(std::move(options));
    eelsvae_model* made = nullptr;
    const eelsvae_status status = eelsvae_model_train(&image, config.get(), caller.given(), &made);
    Model model(made);
    caller.check_call(status);
    return model;
  }

  void save(const std::string& path) const { check(eelsvae_model_save(get(), path.c_str())); }
  std::string content() const {
    const void* bytes = nullptr;
    size_t size = 0;
    check(eelsvae_model_content(get(), &bytes, &size));
    return {static_cast<const char*>(bytes), size};
  }
  EnergyAxis energy() const {
    EnergyAxis axis;
    check(eelsvae_model_energy(get(), &axis.offset, &axis.dispersion, &axis.channels));
    return axis;
  }
  int64_t tile_size() const {
    int64_t pixels = 0;
    check(eelsvae_model_tile_size(get(), &pixels));
    return pixels;
  }
  std::string config() const {
    const char* json = nullptr;
    check(eelsvae_model_config(get(), &json));
    return json;
  }
  const eelsvae_model* get() const { return handle_.get(); }

 private:
  explicit Model(eelsvae_model* handle) : handle_(handle) {}
  template <class Call>
  static Model make(const Call& call) {
    eelsvae_model* made = nullptr;
    check(call(&made));
    return Model(made);
  }

  Handle<eelsvae_model> handle_;
};

struct Region {
  int64_t pixels = 0, y = 0, x = 0;  // y, x: of the highest score
  double score = 0;
  std::string explanation;
};

// Everything that was found in an image; maps are (y, x).
class Detection {
 public:
  explicit Detection(eelsvae_detection* handle) : handle_(handle) {
    check(eelsvae_detection_size(get(), &height_, &width_));
    check(eelsvae_detection_energy(get(), &energy_.offset, &energy_.dispersion, &energy_.channels));
  }

  int64_t height() const { return height_; }
  int64_t width() const { return width_; }
  const EnergyAxis& energy() const { return energy_; }
  std::vector<float> scores() const { return copy(eelsvae_detection_scores, 1); }
  std::vector<uint8_t> mask() const {
    std::vector<uint8_t> mask(static_cast<size_t>(height_ * width_));
    check(eelsvae_detection_mask(get(), mask.data(), mask.size()));
    return mask;
  }
  // (y, x, energy), if Options::keep_spectra was set
  std::vector<float> observed() const { return copy(eelsvae_detection_observed, energy_.channels); }
  std::vector<float> expected() const { return copy(eelsvae_detection_expected, energy_.channels); }
  double threshold() const {
    double threshold = 0;
    check(eelsvae_detection_threshold(get(), &threshold));
    return threshold;
  }
  int64_t anomalous_pixels() const {
    int64_t pixels = 0;
    check(eelsvae_detection_pixels(get(), &pixels, nullptr));
    return pixels;
  }
  int64_t scored_pixels() const {
    int64_t pixels = 0;
    check(eelsvae_detection_pixels(get(), nullptr, &pixels));
    return pixels;
  }
  bool trusted() const { return reasons().empty(); }
  std::vector<std::string> reasons() const {
    int64_t count = 0;
    check(eelsvae_detection_trusted(get(), nullptr, &count));
    std::vector<std::string> reasons;
    for (int64_t i = 0; i < count; ++i) {
      const char* text = nullptr;
      check(eelsvae_detection_reason(get(), i, &text));
      reasons.emplace_back(text);
    }
    return reasons;
  }
  // The highest score first.
  std::vector<Region> regions() const {
    int64_t count = 0;
    check(eelsvae_detection_regions(get(), &count));
    std::vector<Region> regions;
    for (int64_t i = 0; i < count; ++i) {
      eelsvae_region told{};
      told.struct_size = sizeof told;
      check(eelsvae_detection_region(get(), i, &told));
      regions.push_back({told.pixels, told.y, told.x, told.score, told.explanation});
    }
    return regions;
  }
  // JSON
  std::string summary() const {
    const char* json = nullptr;
    check(eelsvae_detection_summary(get(), &json));
    return json;
  }
  const eelsvae_detection* get() const { return handle_.get(); }

 private:
  std::vector<float> copy(eelsvae_status (*call)(const eelsvae_detection*, float*, size_t),
                          int64_t channels) const {
    std::vector<float> values(static_cast<size_t>(height_ * width_ * channels));
    check(call(get(), values.data(), values.size()));
    return values;
  }

  Handle<eelsvae_detection> handle_;
  int64_t height_ = 0, width_ = 0;
  EnergyAxis energy_;
};

// What a detection measured, by which other scans are scored. May be used by several threads at once.
class State {
 public:
  static State open(const std::string& path) {
    return make([&](eelsvae_state** made) { return eelsvae_state_open(path.c_str(), made); });
  }
  static State from_memory(const void* content, size_t size) {
    return make([&](eelsvae_state** made) { return eelsvae_state_from_memory(content, size, made); });
  }
  static State learn(const eelsvae_image& image, const std::string& baseline,
                     const Config& config = Config()) {
    return make([&](eelsvae_state** made) {
      return eelsvae_state_learn(&image, baseline.c_str(), config.get(), made);
    });
  }
  explicit State(eelsvae_state* handle) : handle_(handle) {}

  void save(const std::string& path) const { check(eelsvae_state_save(get(), path.c_str())); }
  std::string content() const {
    const void* bytes = nullptr;
    size_t size = 0;
    check(eelsvae_state_content(get(), &bytes, &size));
    return {static_cast<const char*>(bytes), size};
  }
  EnergyAxis energy() const {
    EnergyAxis axis;
    check(eelsvae_state_energy(get(), &axis.offset, &axis.dispersion, &axis.channels));
    return axis;
  }
  const eelsvae_state* get() const { return handle_.get(); }

 private:
  template <class Call>
  static State make(const Call& call) {
    eelsvae_state* made = nullptr;
    check(call(&made));
    return State(made);
  }

  Handle<eelsvae_state> handle_;
};

// One thread at a time.
class Session {
 public:
  // config: what is to differ from the model's.
  explicit Session(const Model& model, const Config& config = Config(), Options options = {})
      : caller_(std::make_unique<Caller>(std::move(options))) {
    eelsvae_session* made = nullptr;
    caller_->check_call(eelsvae_session_create(model.get(), config.get(), caller_->given(), &made));
    handle_.reset(made);
  }
  // baseline: "mean", "pca:auto", "rx:10" and so on.
  explicit Session(const std::string& baseline, const Config& config = Config(), Options options = {})
      : caller_(std::make_unique<Caller>(std::move(options))) {
    eelsvae_session* made = nullptr;
    caller_->check_call(
        eelsvae_session_create_baseline(baseline.c_str(), config.get(), caller_->given(), &made));
    handle_.reset(made);
  }

  // As the one image was in which the state was measured; by its baseline, or by its model.
  explicit Session(const State& state, const Config& config = Config(), Options options = {})
      : Session(nullptr, state, config, std::move(options)) {}
  Session(const Model& model, const State& state, const Config& config = Config(), Options options = {})
      : Session(model.get(), state, config, std::move(options)) {}

  Detection detect(const eelsvae_image& image) {
    return make(
        [&](eelsvae_detection** made) { return eelsvae_session_detect(handle_.get(), &image, made); });
  }
  // The baseline fitted to another image.
  Detection detect(const eelsvae_image& image, const eelsvae_image& normal) {
    return make([&](eelsvae_detection** made) {
      return eelsvae_session_detect_fitted(handle_.get(), &image, &normal, made);
    });
  }
  // From any thread.
  void stop() { check(eelsvae_session_stop(handle_.get())); }

 private:
  Session(const eelsvae_model* model, const State& state, const Config& config, Options options)
      : caller_(std::make_unique<Caller>(std::move(options))) {
    eelsvae_session* made = nullptr;
    caller_->check_call(
        eelsvae_session_create_with_state(model, state.get(), config.get(), caller_->given(), &made));
    handle_.reset(made);
  }
  template <class Call>
  Detection make(const Call& call) {
    eelsvae_detection* made = nullptr;
    const eelsvae_status status = call(&made);
    Handle<eelsvae_detection> owned(made);
    caller_->check_call(status);
    return Detection(owned.release());
  }

  std::unique_ptr<Caller> caller_;
  Handle<eelsvae_session> handle_;
};

// What a detection measured; Error where that cannot be kept.
inline State state_of(const Detection& detection) {
  eelsvae_state* made = nullptr;
  check(eelsvae_detection_state(detection.get(), &made));
  return State(made);
}

// A scan to come, energy_offset and dispersion in eV.
inline eelsvae_plan plan_of(int64_t height, int64_t width, int64_t channels, double energy_offset,
                            double dispersion) {
  eelsvae_plan plan;
  check(eelsvae_plan_init(&plan, sizeof plan));
  plan.height = height;
  plan.width = width;
  plan.channels = channels;
  plan.energy_offset = energy_offset;
  plan.dispersion = dispersion;
  return plan;
}

// Scores a scan while it is running. One thread at a time pushes and finishes; others may look at it
// meanwhile, by what is const, and wait until what is at work has ended.
class Scan {
 public:
  Scan(const State& state, const eelsvae_plan& plan, Options options = {})
      : caller_(std::make_unique<Caller>(std::move(options))), width_(plan.width) {
    eelsvae_scan* made = nullptr;
    caller_->check_call(eelsvae_scan_create(state.get(), &plan, caller_->given(), &made));
    handle_.reset(made);
  }
  // By a model, and the state of a detection with it. config: device, precision and detection.batch_size.
  Scan(const Model& model, const State& state, const eelsvae_plan& plan, const Config& config = Config(),
       Options options = {})
      : caller_(std::make_unique<Caller>(std::move(options))), width_(plan.width) {
    eelsvae_scan* made = nullptr;
    caller_->check_call(eelsvae_scan_create_with_model(model.get(), state.get(), config.get(), &plan,
                                                       caller_->given(), &made));
    handle_.reset(made);
  }
  // Learns its state from its first rows.
  Scan(const std::string& baseline, int64_t rows, const eelsvae_plan& plan, const Config& config = Config(),
       Options options = {})
      : caller_(std::make_unique<Caller>(std::move(options))), width_(plan.width) {
    eelsvae_scan* made = nullptr;
    caller_->check_call(
        eelsvae_scan_create_learning(baseline.c_str(), rows, config.get(), &plan, caller_->given(), &made));
    handle_.reset(made);
  }

  // Returns the rows whose scores became final. After an Error nothing of it was taken, unless its first rows
  // did not suffice to learn from, or the system had no memory: these end the scan.
  template <class T>
  eelsvae_rows push(int64_t first, int64_t count, const T* spectra) {
    eelsvae_rows rows{};
    caller_->check_call(eelsvae_scan_push(handle_.get(), first, count, spectra, type_of<T>(), &rows));
    return rows;
  }
  eelsvae_rows score_provisionally() {
    eelsvae_rows rows{};
    caller_->check_call(eelsvae_scan_score_provisionally(handle_.get(), &rows));
    return rows;
  }
  eelsvae_rows finish() {
    eelsvae_rows rows{};
    caller_->check_call(eelsvae_scan_finish(handle_.get(), &rows));
    return rows;
  }
  eelsvae_scan_status status() const {
    eelsvae_scan_status status{};
    status.struct_size = sizeof status;
    check(eelsvae_scan_get_status(handle_.get(), &status));
    return status;
  }
  // (rows.last - rows.first, width); NaN where there is none
  std::vector<float> scores(eelsvae_rows rows) const {
    std::vector<float> scores(static_cast<size_t>((rows.last - rows.first) * width_));
    check(
        eelsvae_scan_scores(handle_.get(), rows.first, rows.last - rows.first, scores.data(), scores.size()));
    return scores;
  }
  Detection detection() const {
    eelsvae_detection* made = nullptr;
    check(eelsvae_scan_detection(handle_.get(), &made));
    return Detection(made);
  }
  State state() const {
    eelsvae_state* made = nullptr;
    check(eelsvae_scan_state(handle_.get(), &made));
    return State(made);
  }

 private:
  std::unique_ptr<Caller> caller_;
  int64_t width_;
  Handle<eelsvae_scan> handle_;
};

}  // namespace eelsvae::api

#endif
