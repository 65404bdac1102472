#include "io/serve/improving_scans.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "io/files/message_text.h"
#include "io/files/number_text.h"
#include "io/model/detection_state_file.h"
#include "io/serve/row_scans.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr int most_failures = 3;     // of trainings, after which no further one is begun
constexpr int64_t rows_at_once = 2;  // that may be scored between two blocks to catch up with the scan
constexpr double least_share = 0.5;  // of the spectra of rows that a network is to learn from

}  // namespace

// What a training has left.
struct ImprovingScans::Learned {
  Learned(const std::string& in, const Axis& axis, const std::vector<std::string>& on)
      : folder(in), energy(axis), device(on), source(make_source()) {}

  // Of its own, for another thread.
  std::unique_ptr<LiveScanSource> make_source() const {
    const std::string found = NetworkTraining::found_in(folder);
    auto state = std::make_shared<const DetectionState>(load_detection_state(found));
    const std::string model = state->baseline ? "" : NetworkTraining::model_in(folder);
    return scans_by(std::move(state), found, model, device);
  }
  bool fits(const ScanPlan& plan) const { return plan.energy == energy; }

  std::string folder;
  Axis energy;
  std::vector<std::string> device;
  std::unique_ptr<LiveScanSource> source;
};

// Scores a recorded scan by what was learned, in a thread of its own that others go before.
class ImprovingScans::Rescoring {
 public:
  Rescoring(std::unique_ptr<LiveScanSource> source, std::shared_ptr<const RecordedScan> record)
      : source_(std::move(source)), record_(std::move(record)) {}
  ~Rescoring() {
    give_up();
    if (thread_.joinable()) thread_.join();
  }

  void give_up() { stop_ = true; }
  bool working() const { return working_; }
  // Goes on in the background until what is known by now is scored: the pixels below `known`, and, if it has
  // ended, that no others will come.
  void go_on(int64_t known, bool ended) {
    if (thread_.joinable()) thread_.join();
    working_ = true;
    thread_ = std::thread([this, known, ended] {
      setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 19);
      try {
        score(known, ended);
      } catch (const std::exception& error) {
        failure_ = one_line(error.what());
      }
      working_ = false;
    });
  }

  // While it does not work: pixels that are scored; whether it knows that there are no others; why it cannot
  // go on; and the scan, when nothing more is to be done.
  int64_t scored() const { return scored_; }
  bool finished() const { return finished_; }
  const std::string& failure() const { return failure_; }
  const LiveScan& live() const { return *live_; }
  std::unique_ptr<LiveScan> take() { return std::move(live_); }

 private:
  void score(int64_t known, bool ended) {
    const ScanPlan& plan = record_->plan();
    if (!live_) live_ = source_->open(plan);
    while (scored_ < known && !stop_) {
      const int64_t next = std::min(known, scored_ + plan.width);
      record_->replay(scored_, next, [&](int64_t first, int64_t count, std::span<const float> spectra) {
        live_->push(first, count, spectra);
      });
      scored_ = next;
    }
    if (stop_) return;
    if (!ended) {
      live_->score_provisionally();
      return;
    }
    live_->finish();
    finished_ = true;
  }

  std::unique_ptr<LiveScanSource> source_;
  std::shared_ptr<const RecordedScan> record_;
  std::unique_ptr<LiveScan> live_;
  int64_t scored_ = 0;
  bool finished_ = false;
  std::string failure_;
  std::atomic<bool> stop_ = false, working_ = false;
  std::thread thread_;
};

struct ImprovingScans::Shared {
  Shared(NetworkTrainingOptions options, std::vector<std::string> on)
      : training(std::move(options)), device(std::move(on)) {}

  void say(std::string line) { lines.push_back(std::move(line)); }
  void say_failure(const std::string& what, const std::exception& error) {
    ++failures;
    say(what + ": " + one_line(error.what()) + (failures < most_failures ? "" : "; no further one is tried"));
  }

  NetworkTraining training;
  std::vector<std::string> device;
  Axis energy;  // of the scan that is trained on
  std::shared_ptr<const Learned> learned;
  int failures = 0;
  std::vector<std::string> lines;                    // that were not told yet
  std::vector<std::unique_ptr<Rescoring>> given_up;  // which end soon
};

class ImprovingScans::Scan : public LiveScan {
 public:
  // at_the_end: it is scored by what was learned only when it has ended, for that is too slow for it.
  Scan(std::unique_ptr<LiveScan> live, const ScanPlan& plan, std::shared_ptr<Shared> shared, bool at_the_end)
      : live_(std::move(live)), plan_(plan), shared_(std::move(shared)), at_the_end_(at_the_end) {
    const NetworkTraining& training = shared_->training;
    to_train_ = !shared_->learned && !training.running() && shared_->failures < most_failures;
    const bool trained_meanwhile = training.running() && plan.energy == shared_->energy;
    if (!to_train_ && !trained_meanwhile && !at_the_end_) return;
    try {
      folder_ = to_train_ ? training.new_folder() : training.options().folder;
      rows_to_train_ = to_train_ ? std::min(training.options().rows.value_or(plan.height), plan.height) : 0;
      record_ = std::make_shared<RecordedScan>(folder_, plan_, rows_to_train_);
    } catch (const UserError& error) {
      cannot_keep(error);
    }
  }
  ~Scan() override {
    if (to_train_) record_->discard();
    if (!rescoring_) return;
    rescoring_->give_up();  // its step may take seconds: nobody waits for it here
    shared_->given_up.push_back(std::move(rescoring_));
  }

  Rows push(int64_t first, int64_t count, std::span<const float> spectra) override {
    const int64_t closed = live_->complete_rows() * plan_.width;  // what comes for pixels below is too late
    const Rows rows = counted([&] { return live_->push(first, count, spectra); });
    const int64_t late = std::clamp<int64_t>(closed - first, 0, count);
    if (record_)
      record(first + late, count - late, spectra.subspan(static_cast<size_t>(late * plan_.energy.size)));
    if (to_train_ && live_->complete_rows() >= rows_to_train_) train();
    return rows;
  }
  Rows score_provisionally() override { return live_->score_provisionally(); }
  Rows finish() override {
    const Rows rows = counted([&] { return live_->finish(); });
    ended_ = true;
    if (to_train_) train();
    return rows;
  }
  int64_t final_rows() const override { return live_->final_rows(); }
  int64_t scored_rows() const override { return live_->scored_rows(); }
  int64_t complete_rows() const override { return live_->complete_rows(); }
  int64_t reach() const override { return live_->reach(); }
  const ScanCounts& counts() const override { return counts_; }
  std::span<const float> scores() const override { return live_->scores(); }
  double threshold() const override { return live_->threshold(); }
  std::vector<AnomalousSpectrum> worst(int64_t most) const override { return live_->worst(most); }
  Detection result() const override { return live_->result(); }
  Axis prepared_energy() const override { return live_->prepared_energy(); }
  std::string scored_by() const override { return live_->scored_by(); }

  bool renew() override {
    const Learned* learned = shared_->learned.get();
    if (!record_ || !learned || !learned->fits(plan_) || (at_the_end_ && !ended_)) return false;
    const int64_t pixels = plan_.height * plan_.width,
                  known = ended_ ? pixels : live_->complete_rows() * plan_.width;
    try {
      if (!rescoring_) {
        rescoring_ = std::make_unique<Rescoring>(learned->make_source(), record_);
        rescoring_->go_on(known, ended_);
      }
      if (rescoring_->working()) return false;
      if (!rescoring_->failure().empty()) throw UserError(rescoring_->failure());
      if (known - rescoring_->scored() > rows_at_once * plan_.width || ended_ != rescoring_->finished()) {
        rescoring_->go_on(known, ended_);
        return false;
      }
      if (!ended_ && 2 * rescoring_->live().scored_rows() < live_->scored_rows()) return false;
      std::unique_ptr<LiveScan> renewed = rescoring_->take();
      if (!ended_)
        record_->replay(rescoring_->scored(), pixels,
                        [&](int64_t first, int64_t count, std::span<const float> spectra) {
                          renewed->push(first, count, spectra);
                        });
      live_ = std::move(renewed);
      drop_record();
      return true;
    } catch (const std::exception& error) {
      shared_->say("the scan is not scored by " + learned->folder + ": " + one_line(error.what()));
      drop_record();
      return false;
    }
  }

 private:
  // What came is counted once, whoever scores it.
  template <class Work>
  Rows counted(const Work& work) {
    const ScanCounts before = live_->counts();
    const Rows rows = work();
    const ScanCounts& after = live_->counts();
    counts_.received += after.received - before.received;
    counts_.repeated += after.repeated - before.repeated;
    counts_.late += after.late - before.late;
    counts_.missing += after.missing - before.missing;
    return rows;
  }

  void record(int64_t first, int64_t count, std::span<const float> spectra) {
    try {
      record_->write(first, count, spectra);
    } catch (const UserError& error) {
      cannot_keep(error);
    }
  }
  void cannot_keep(const UserError& error) {
    shared_->say("the scan is not kept for a network: " + one_line(error.what()));
    if (to_train_ && record_) record_->discard();
    to_train_ = false;
    drop_record();
  }

  void train() {
    if (record_->share_there() < least_share) {
      shared_->say("too little of the scan has come for a network to learn from; the next one is tried");
      record_->discard();
      to_train_ = false;
      return drop_record();
    }
    to_train_ = false;
    try {
      shared_->training.begin(*record_, folder_);
      shared_->energy = plan_.energy;
      shared_->say("a network learns from " + record_->path() + ", for " +
                   number_text(shared_->training.options().minutes) + " minutes at most");
    } catch (const UserError& error) {
      shared_->say_failure("no network is trained", error);
      record_->discard();
      drop_record();
    }
  }

  void drop_record() {
    rescoring_.reset();
    record_.reset();
  }

  std::unique_ptr<LiveScan> live_;
  ScanPlan plan_;
  std::shared_ptr<Shared> shared_;
  bool at_the_end_, to_train_ = false, ended_ = false;
  std::string folder_;
  int64_t rows_to_train_ = 0;
  std::shared_ptr<RecordedScan> record_;
  std::unique_ptr<Rescoring> rescoring_;
  ScanCounts counts_;
};

ImprovingScans::ImprovingScans(std::unique_ptr<LiveScanSource> first, NetworkTrainingOptions options,
                               std::vector<std::string> device)
    : first_(std::move(first)), shared_(std::make_shared<Shared>(std::move(options), std::move(device))) {}
ImprovingScans::~ImprovingScans() = default;

std::unique_ptr<LiveScan> ImprovingScans::open(const ScanPlan& plan) {
  const Learned* learned = shared_->learned.get();
  return std::make_unique<Scan>(first_->open(plan), plan, shared_, learned && learned->fits(plan));
}

std::unique_ptr<LiveScan> ImprovingScans::open_for_trial(const ScanPlan& plan) {
  return first_->open(plan);
}

LiveScanSource* ImprovingScans::better(const ScanPlan& plan) {
  const Learned* learned = shared_->learned.get();
  return learned && learned->fits(plan) ? learned->source.get() : nullptr;
}

std::string ImprovingScans::description() const {
  return first_->description() + "; by a network, once it has learned from the first scan";
}

std::vector<std::string> ImprovingScans::news() {
  Shared& shared = *shared_;
  std::erase_if(shared.given_up, [](const auto& rescoring) { return !rescoring->working(); });
  try {
    if (const std::optional<NetworkTraining::Ended> ended = shared.training.ended()) {
      if (ended->folder.empty()) {
        shared.say(ended->line);
      } else {
        shared.learned = std::make_shared<const Learned>(ended->folder, shared.energy, shared.device);
        shared.say("scans are scored by " + shared.learned->source->description() +
                   " from now on; its own scan is described in " + NetworkTraining::found_in(ended->folder) +
                   "/report.html");
      }
    }
  } catch (const std::exception& error) {
    shared.say_failure("no network was learned", error);
  }
  return std::exchange(shared.lines, {});
}

}  // namespace eelsvae
