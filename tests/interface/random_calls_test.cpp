#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>

#include "tests/interface/film.h"

// Whoever calls the library in any order, with NULL here and there and sizes that are wrong, is told so. What
// is not tried is memory that is not there, or was given back.
namespace eelsvae {
namespace {

class RandomCaller {
 public:
  explicit RandomCaller(uint64_t seed) : random_(seed), counts_(film()) {
    // Few pixels, so that a detection takes no time.
    small_ = image_of(counts_);
    small_.shape[0] = small_.shape[1] = 8;
    small_.strides[0] = counts_.x.size * counts_.energy.size * int64_t{sizeof(float)};
    small_.strides[1] = counts_.energy.size * int64_t{sizeof(float)};
    small_.strides[2] = sizeof(float);
  }
  ~RandomCaller() {
    for (eelsvae_config* object : configs_) eelsvae_config_destroy(object);
    for (eelsvae_model* object : models_) eelsvae_model_destroy(object);
    for (eelsvae_session* object : sessions_) eelsvae_session_destroy(object);
    for (eelsvae_detection* object : detections_) eelsvae_detection_destroy(object);
    for (eelsvae_state* object : states_) eelsvae_state_destroy(object);
    for (eelsvae_scan* object : scans_) eelsvae_scan_destroy(object);
  }

  // A model's content, and one of everything, to begin with.
  void give(const api::Model& model) {
    content_ = model.content();
    api::check(eelsvae_config_create(R"({"detection": {"threshold": 4}})", &configs_[0]));
    api::check(eelsvae_model_from_memory(content_.data(), content_.size(), &models_[0]));
    api::check(eelsvae_session_create(models_[0], configs_[0], nullptr, &sessions_[0]));
    api::check(eelsvae_session_detect(sessions_[0], &small_, &detections_[0]));
    const eelsvae_image film = image_of(counts_);
    api::check(eelsvae_state_learn(&film, "mean", nullptr, &states_[0]));
    state_content_ =
        api::State::from_memory(content_of(states_[0]).data(), content_of(states_[0]).size()).content();
    plan_ = api::plan_of(8, 8, counts_.energy.size, counts_.energy.offset, counts_.energy.scale);
    api::check(eelsvae_scan_create(states_[0], &plan_, nullptr, &scans_[0]));
  }
  static std::string content_of(const eelsvae_state* state) {
    const void* bytes = nullptr;
    size_t size = 0;
    api::check(eelsvae_state_content(state, &bytes, &size));
    return {static_cast<const char*>(bytes), size};
  }

  void call() {
    const eelsvae_status status = any_call();
    ASSERT_TRUE(status == EELSVAE_OK || status == EELSVAE_MISTAKE || status == EELSVAE_STOPPED)
        << status << " " << eelsvae_last_message();
    // A line for every failure, nothing for a success.
    ASSERT_EQ(status == EELSVAE_OK, *eelsvae_last_message() == '\0');
    ASSERT_EQ(std::strchr(eelsvae_last_message(), '\n'), nullptr) << eelsvae_last_message();
    ++calls_[status];
  }

  int64_t calls(eelsvae_status status) const { return calls_[static_cast<size_t>(status)]; }

 private:
  uint64_t below(uint64_t end) { return random_() % end; }
  bool seldom() { return below(8) == 0; }
  template <class T>
  T* or_null(T* there) {
    return seldom() ? nullptr : there;
  }
  template <class T, size_t n>
  T any_of(const T (&list)[n]) {
    return list[below(n)];
  }
  // One of the objects there are; NULL now and then.
  template <class T, size_t n>
  T* one(const std::array<T*, n>& objects) {
    return or_null(objects[below(n)]);
  }
  // Has a call make an object, which takes the place of an older one; now and then there is nowhere to put
  // it.
  template <class T, size_t n, class Destroy, class Call>
  eelsvae_status make(std::array<T*, n>& objects, const Destroy& destroy, const Call& call) {
    T* made = nullptr;
    const eelsvae_status status = call(or_null(&made));
    EXPECT_TRUE(status == EELSVAE_OK || !made) << "a call that failed left an object";
    if (!made) return status;
    T*& object = objects[below(n)];
    destroy(object);
    object = made;
    return status;
  }

  size_t any_struct_size(size_t right) {
    const size_t sizes[] = {right, right, right, right, 0, right - 1, right + 1, right + 8, SIZE_MAX, 4};
    return any_of(sizes);
  }
  int64_t any_size() {
    const int64_t sizes[] = {1, 8, 0, -1, INT64_MIN, INT64_MAX, INT64_MAX / 2};
    return any_of(sizes);
  }
  const char* any_text() {
    static const char* const texts[] = {
        "",
        "{}",
        "{",
        "null",
        R"({"detection": {"threshold": 5}})",
        R"({"detection": {"fdr": "a"}})",
        R"({"device": "cpu", "data": {"exclude": [[0, 0, 100, 1]]}})",
        R"({"preprocess": {"sigma": 0, "xy_window": 1}, "detection": {"threshold": 3}})",
        "detection.fdr=0.2",
        "detection.threshold=4",
        "detection.score=latent",
        "data.energy_range=1,2",
        "data.exclude_path=a",
        "training.epochs",
        "=",
        "mean",
        "pca:1",
        "pca:10000000000",
        "rx",
        "\xff\n\x01",
        "/nowhere/at/all"};
    return or_null(any_of(texts));
  }
  const eelsvae_options* any_options() {
    options_ = {};
    eelsvae_options_init(&options_, sizeof options_);
    options_.struct_size = any_struct_size(sizeof options_);
    const int32_t threads[] = {1, 1, 1, 0, -1, 2000};
    options_.threads = any_of(threads);
    options_.keep_spectra = static_cast<int32_t>(below(2));
    options_.on_training_image = seldom();
    options_.progress_user = this;
    if (below(2) == 0)
      options_.progress = [](void* user, const char*, int64_t, int64_t) -> int32_t {
        return static_cast<RandomCaller*>(user)->below(2) == 0;
      };
    options_.log_user = &heard_;
    options_.log = [](void* user, int32_t, const char* text) {
      *static_cast<size_t*>(user) += std::strlen(text);
    };
    return or_null(&options_);
  }
  // Never one that reaches beyond the memory of the film.
  const eelsvae_image* any_image() {
    changed_ = small_;
    switch (below(16)) {
      case 0:
        changed_.struct_size = any_struct_size(sizeof changed_);
        break;
      case 1:
        changed_.shape[below(3)] = any_of({int64_t{0}, int64_t{-1}, INT64_MIN});
        break;
      case 2:
        changed_.shape[below(3)] = INT64_MAX;
        break;
      case 3:
        changed_.shape[below(3)] = 1;
        break;
      case 4:
        changed_.type = static_cast<int32_t>(below(11)) - 1;
        break;
      case 5:
        changed_.data = nullptr;
        break;
      case 6:
        changed_.dispersion = any_of({0.0, -1.0, 1e-300, 1e300, double(NAN)});
        break;
      case 7:
        changed_.strides[below(3)] = any_of({INT64_MAX, INT64_MIN, int64_t{0}});
        if (changed_.strides[0] != 0) break;
        changed_.strides[1] = changed_.strides[2] = 0;
        break;
      case 8:
        changed_.excluded = mask_.data();
        break;
      default:
        break;
    }
    return or_null(&changed_);
  }

  const eelsvae_plan* any_plan() {
    changed_plan_ = plan_;
    int64_t* const sizes[] = {&changed_plan_.height, &changed_plan_.width, &changed_plan_.channels,
                              &changed_plan_.patience};
    switch (below(8)) {
      case 0:
        changed_plan_.struct_size = any_struct_size(sizeof changed_plan_);
        break;
      case 1:
        *any_of(sizes) = any_size();
        break;
      case 2:
        changed_plan_.dispersion = any_of({0.0, -1.0, 1e-300, 1e300, double(NAN)});
        break;
      case 3:
        changed_plan_.excluded = mask_.data();
        break;
      default:
        break;
    }
    if (changed_plan_.excluded && (changed_plan_.height != 8 || changed_plan_.width != 8))
      changed_plan_.excluded = nullptr;
    return or_null(&changed_plan_);
  }

  eelsvae_status any_call();
  eelsvae_status any_detection_call();
  eelsvae_status any_scan_call();

  std::mt19937_64 random_;
  SpectrumImage counts_;
  eelsvae_image small_, changed_;
  eelsvae_options options_;
  std::vector<uint8_t> mask_ = std::vector<uint8_t>(64, 1);
  std::string content_;
  size_t heard_ = 0;
  std::array<eelsvae_config*, 3> configs_{};
  std::array<eelsvae_model*, 3> models_{};
  std::array<eelsvae_session*, 3> sessions_{};
  std::array<eelsvae_detection*, 3> detections_{};
  std::array<eelsvae_state*, 3> states_{};
  std::array<eelsvae_scan*, 3> scans_{};
  std::string state_content_;
  eelsvae_plan plan_{}, changed_plan_{};
  std::array<int64_t, 5> calls_{};
};

eelsvae_status RandomCaller::any_call() {
  const char* text = nullptr;
  const void* bytes = nullptr;
  size_t size = 0;
  int64_t number = 0;
  double real = 0;
  // What takes long is tried seldom.
  if (below(2000) == 0) {
    switch (below(10)) {
      case 0: {
        const size_t length = below(2) == 0 ? content_.size() : below(content_.size());
        return make(models_, eelsvae_model_destroy, [&](eelsvae_model** made) {
          return eelsvae_model_from_memory(or_null(content_.data()), length, made);
        });
      }
      case 1:
        return make(sessions_, eelsvae_session_destroy, [&](eelsvae_session** made) {
          return eelsvae_session_create(one(models_), one(configs_), any_options(), made);
        });
      case 2: {
        const size_t length = below(2) == 0 ? state_content_.size() : below(state_content_.size());
        return make(states_, eelsvae_state_destroy, [&](eelsvae_state** made) {
          return eelsvae_state_from_memory(or_null(state_content_.data()), length, made);
        });
      }
      case 3:
        return make(states_, eelsvae_state_destroy, [&](eelsvae_state** made) {
          return eelsvae_state_learn(any_image(), any_text(), one(configs_), made);
        });
      case 4:
        return make(scans_, eelsvae_scan_destroy, [&](eelsvae_scan** made) {
          return eelsvae_scan_create_learning(any_text(), any_size(), one(configs_), any_plan(),
                                              any_options(), made);
        });
      case 5:
        return make(scans_, eelsvae_scan_destroy, [&](eelsvae_scan** made) {
          return eelsvae_scan_create(one(states_), any_plan(), any_options(), made);
        });
      case 6:
        return eelsvae_scan_push(one(scans_), static_cast<int64_t>(below(8)) * 8,
                                 any_of({int64_t{0}, int64_t{1}, int64_t{8}}), or_null(counts_.counts.data()),
                                 EELSVAE_FLOAT32, nullptr);
      case 7:
        return make(sessions_, eelsvae_session_destroy, [&](eelsvae_session** made) {
          return eelsvae_session_create_with_state(below(2) == 0 ? nullptr : one(models_), one(states_),
                                                   one(configs_), any_options(), made);
        });
      case 8: {
        const eelsvae_image normal = small_;
        return make(detections_, eelsvae_detection_destroy, [&](eelsvae_detection** made) {
          return eelsvae_session_detect_fitted(one(sessions_), any_image(), or_null(&normal), made);
        });
      }
      default:
        return make(detections_, eelsvae_detection_destroy, [&](eelsvae_detection** made) {
          return eelsvae_session_detect(one(sessions_), any_image(), made);
        });
    }
  }
  if (below(40) == 0) {
    switch (below(4)) {
      case 0:
        return make(configs_, eelsvae_config_destroy,
                    [&](eelsvae_config** made) { return eelsvae_config_create(any_text(), made); });
      case 1:
        return eelsvae_config_set(one(configs_), any_text());
      case 2:
        return make(sessions_, eelsvae_session_destroy, [&](eelsvae_session** made) {
          return eelsvae_session_create_baseline(any_text(), one(configs_), any_options(), made);
        });
      default:
        return make(models_, eelsvae_model_destroy,
                    [&](eelsvae_model** made) { return eelsvae_model_open(any_text(), made); });
    }
  }
  switch (below(15)) {
    case 10:
    case 11:
    case 12:
      return any_scan_call();
    case 0: {
      eelsvae_image image;
      return eelsvae_image_init(or_null(&image),
                                any_of({sizeof image, size_t{0}, sizeof image - 1, SIZE_MAX}));
    }
    case 1: {
      eelsvae_options options;
      return eelsvae_options_init(or_null(&options),
                                  any_of({sizeof options, size_t{0}, sizeof options - 1, SIZE_MAX}));
    }
    case 2:
      return eelsvae_config_json(one(configs_), or_null(&text));
    case 3:
      return eelsvae_model_config(one(models_), or_null(&text));
    case 4:
      return eelsvae_model_content(one(models_), or_null(&bytes), or_null(&size));
    case 5:
      return eelsvae_model_energy(one(models_), or_null(&real), or_null(&real), or_null(&number));
    case 6:
      return eelsvae_model_tile_size(one(models_), or_null(&number));
    case 7:
      return eelsvae_session_stop(one(sessions_));
    case 8: {
      // Nothing is trained: the image or the options are wrong.
      changed_ = small_;
      changed_.type = 99;
      return make(models_, eelsvae_model_destroy, [&](eelsvae_model** made) {
        return eelsvae_model_train(or_null(&changed_), one(configs_), any_options(), made);
      });
    }
    case 9:
      return eelsvae_model_save(one(models_), any_of({static_cast<const char*>(nullptr), "/nowhere/at/all"}));
    default:
      return any_detection_call();
  }
}

eelsvae_status RandomCaller::any_scan_call() {
  eelsvae_scan* const scan = one(scans_);
  const void* bytes = nullptr;
  size_t size = 0;
  int64_t number = 0;
  double real = 0;
  float scores[64];
  eelsvae_rows rows;
  switch (below(11)) {
    case 0: {
      eelsvae_plan plan;
      return eelsvae_plan_init(or_null(&plan), any_of({sizeof plan, size_t{0}, sizeof plan - 1, SIZE_MAX}));
    }
    case 1:
      // Nothing is taken: one of the numbers is wrong.
      if (below(2) == 0)
        return eelsvae_scan_push(scan, any_of({int64_t{0}, int64_t{5}, INT64_MAX}),
                                 any_of({INT64_MIN, int64_t{-1}, int64_t{1} << 40, INT64_MAX}),
                                 or_null(counts_.counts.data()), 10, or_null(&rows));
      return eelsvae_scan_push(scan, any_of({INT64_MIN, int64_t{-1}, int64_t{64}, INT64_MAX}), 1,
                               or_null(counts_.counts.data()), any_of({10, 10, 0, 99}), or_null(&rows));
    case 2:
      return eelsvae_scan_score_provisionally(scan, or_null(&rows));
    case 3:
      return below(100) == 0 ? eelsvae_scan_finish(scan, or_null(&rows))
                             : eelsvae_state_open(any_text(), nullptr);
    case 4: {
      eelsvae_scan_status status{};
      status.struct_size = any_struct_size(sizeof status);
      return eelsvae_scan_get_status(scan, or_null(&status));
    }
    case 5:
      return eelsvae_scan_scores(scan, any_size() - 1, any_size(), or_null(scores),
                                 any_of({size_t{64}, size_t{8}, size_t{0}, SIZE_MAX}));
    case 6: {
      eelsvae_detection* made = nullptr;
      const eelsvae_status status = eelsvae_scan_detection(scan, or_null(&made));
      eelsvae_detection_destroy(made);
      return status;
    }
    case 7: {
      eelsvae_state* made = nullptr;
      const eelsvae_status status = eelsvae_scan_state(scan, or_null(&made));
      eelsvae_state_destroy(made);
      return status;
    }
    case 8:
      return eelsvae_state_content(one(states_), or_null(&bytes), or_null(&size));
    case 9:
      return eelsvae_state_save(one(states_), any_of({static_cast<const char*>(nullptr), "/nowhere/at/all"}));
    default:
      return eelsvae_state_energy(one(states_), or_null(&real), or_null(&real), or_null(&number));
  }
}

eelsvae_status RandomCaller::any_detection_call() {
  const eelsvae_detection* detection = one(detections_);
  const char* text = nullptr;
  int64_t numbers[2];
  double reals[2];
  int32_t flag = 0;
  float scores[64];
  uint8_t mask[64];
  static std::vector<float> spectra(64 * 64);
  const size_t count = any_of({size_t{64}, size_t{0}, size_t{63}, size_t{65}, SIZE_MAX});
  const size_t most = any_of({spectra.size(), size_t{0}, SIZE_MAX});
  switch (below(12)) {
    case 0:
      return eelsvae_detection_size(detection, or_null(numbers), or_null(numbers + 1));
    case 1:
      return eelsvae_detection_energy(detection, or_null(reals), or_null(reals + 1), or_null(numbers));
    case 2:
      return eelsvae_detection_scores(detection, or_null(scores), count);
    case 3:
      return eelsvae_detection_mask(detection, or_null(mask), count);
    case 4:
      return eelsvae_detection_observed(detection, or_null(spectra.data()), most);
    case 5:
      return eelsvae_detection_expected(detection, or_null(spectra.data()), most);
    case 6:
      return eelsvae_detection_threshold(detection, or_null(reals));
    case 7:
      return eelsvae_detection_pixels(detection, or_null(numbers), or_null(numbers + 1));
    case 8:
      return eelsvae_detection_trusted(detection, or_null(&flag), or_null(numbers));
    case 9:
      return eelsvae_detection_reason(detection, any_size(), or_null(&text));
    case 10: {
      eelsvae_region region{};
      region.struct_size = any_struct_size(sizeof region);
      return eelsvae_detection_region(detection, any_size() - 1, or_null(&region));
    }
    default:
      return seldom() ? eelsvae_detection_regions(detection, or_null(numbers))
                      : eelsvae_detection_summary(detection, or_null(&text));
  }
}

class RandomCalls : public InterfaceTest {};

TEST_F(RandomCalls, AreAnsweredInAnyOrder) {
  RandomCaller caller(20261130);
  caller.give(model());
  int64_t calls = 0;
  while (calls < 1'000'000 && !HasFailure()) {
    caller.call();
    ++calls;
  }
  ASSERT_FALSE(HasFailure()) << "in call " << calls;
  EXPECT_GT(caller.calls(EELSVAE_OK), 100'000);
  EXPECT_GT(caller.calls(EELSVAE_MISTAKE), 100'000);
  EXPECT_GT(caller.calls(EELSVAE_STOPPED), 0);
}

}  // namespace
}  // namespace eelsvae
