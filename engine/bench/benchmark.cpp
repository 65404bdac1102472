#include "engine/bench/benchmark.h"
#include "kernels/backend_memory.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "engine/bench/processor_time.h"
#include "engine/detect/scores.h"
#include "engine/network/model_probe.h"
#include "kernels/philox.h"
#include "kernels/tolerances.h"

namespace eelsvae {
namespace {

// The published training's.
constexpr double learning_rate = 1e-4, clip_value = 3.53;
constexpr uint64_t seed = 1;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Uniform in [-1, 1); the same on every call.
const std::vector<float>& random_block() {
  // Elements that follow each other in steps of a power of two shall differ, so that no matrix repeats its
  // rows soon; parts of arrays begin at multiples of 64.
  constexpr int64_t size = int64_t{64} * 62501;
  static const std::vector<float> block = [] {
    std::vector<float> values(size);
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(2 * uniform(philox(seed, i / 4, 0).v[i % 4]) - 1);
    return values;
  }();
  return block;
}

// Random numbers in +-bound, a block of them again and again. Zeros would not do: devices multiply them with
// less power and so faster.
void fill_random(Backend& backend, Array array, double bound) {
  std::vector<float> block = random_block();
  block.resize(static_cast<size_t>(std::min<int64_t>(array.count, std::ssize(block))));
  for (float& value : block) value *= static_cast<float>(bound);
  const BackendMemory staging(backend, block.size() * sizeof(float));
  backend.upload(block.data(), staging.data(), block.size() * sizeof(float));
  for (int64_t first = 0; first < array.count; first += std::ssize(block)) {
    const int64_t count = std::min<int64_t>(std::ssize(block), array.count - first);
    backend.convert({staging.data(), DType::f32, count}, slice(array, first, count));
  }
  backend.synchronize();
}

// As Model::initialize(), but made on the device in no time.
void initialize(Model& model) {
  for (const Model::State& state : model.states())
    if (state.weight)
      fill_random(model.backend(), ModelProbe(model).parameter_array(state.name), state.parameter.bound);
  model.refresh();
}

// Preprocessed intensities in [0, 1].
std::vector<float> random_tiles(int64_t count) {
  std::vector<float> tiles(static_cast<size_t>(count));
  const std::vector<float>& block = random_block();
  for (size_t i = 0; i < tiles.size(); ++i) tiles[i] = 0.5f + 0.5f * block[i % block.size()];
  return tiles;
}

// Verification.

float in_type(float value, DType type) {
  return type == DType::bf16 ? static_cast<float>(bfloat16(value)) : value;
}

struct Difference {
  double squared_error = 0, squared_norm = 0;
  void add(double actual, double expected) {
    squared_error += (actual - expected) * (actual - expected);
    squared_norm += expected * expected;
  }
  template <typename A, typename B>
  void add(const A& actual, const B& expected) {
    expect(actual.size() == expected.size(), "comparison of different sizes");
    for (size_t i = 0; i < actual.size(); ++i)
      add(static_cast<double>(actual[i]), static_cast<double>(expected[i]));
  }
  double relative() const { return std::sqrt(squared_error / squared_norm); }
};

std::vector<float> read(const Model& model, const Model::State& state) {
  std::vector<float> values;
  model.read_state(
      state, [&](const float* block, int64_t count) { values.insert(values.end(), block, block + count); });
  return values;
}

void write(Model& model, const Model::State& state, const std::vector<float>& values) {
  int64_t first = 0;
  model.write_state(state, [&](float* block, int64_t count) {
    std::copy_n(values.begin() + first, count, block);
    first += count;
  });
}

// The same network with the same weights and tiles, all of them numbers that the device's activations can
// hold, on the device and on the reference.
struct Twins {
  Twins(Backend& backend, Backend& reference, ReconstructionLoss loss, Purpose purpose,
        const std::function<double(const Model::State&, double)>& weight)
      : device(backend, shape(), loss, batch, purpose), exact(reference, shape(), loss, batch, purpose) {
    const DType type = backend.storage_type();
    for (Model* model : {&device, &exact}) {
      model->allocate();
      size_t draw = 0;
      for (const Model::State& state : model->states()) {
        if (!state.weight) continue;
        std::vector<float> values(static_cast<size_t>(state.parameter.count()));
        for (float& value : values)
          value =
              in_type(static_cast<float>(weight(state, static_cast<double>(random_block()[draw++]))), type);
        write(*model, state, values);
      }
      model->refresh();
    }
    tiles = random_tiles(batch * shape().tile_count());
    for (float& value : tiles) value = in_type(value, type);
    for (Model* model : {&device, &exact}) model->load_tiles(tiles.data());
  }
  // Several channels of every kind, a fraction of a second of the reference's time.
  static ModelShape shape() { return {8, 32, {8, 16, 24, 32}, 40, 8}; }
  static constexpr int64_t batch = 2;

  Model device, exact;
  std::vector<float> tiles;
};

void check_outputs(Backend& backend, Backend& reference, ReconstructionLoss loss, const Tolerance& tolerance,
                   std::vector<Check>& checks) {
  Twins twins(backend, reference, loss, Purpose::inference, [](const Model::State& state, double random) {
    // Biases begin at zero, which would check none of them.
    return random * (state.parameter.bound > 0 ? state.parameter.bound : 0.1);
  });
  Difference losses, outputs;
  const auto device = twins.device.evaluate(), exact = twins.exact.evaluate();
  for (size_t tile = 0; tile < exact.size(); ++tile) {
    losses.add(device[tile].reconstruction, exact[tile].reconstruction);
    losses.add(device[tile].kl, exact[tile].kl);
  }
  std::vector<float> of_device(twins.tiles.size()), of_exact(twins.tiles.size());
  // The second pass is the repeated one, which a device may have recorded.
  for (int pass = 0; pass < 2; ++pass) {
    for (Model* model : {&twins.device, &twins.exact}) model->load_tiles(twins.tiles.data());
    twins.device.reconstruct(of_device.data());
    twins.exact.reconstruct(of_exact.data());
    outputs.add(of_device, of_exact);
  }
  checks.push_back({"reconstructions", outputs.relative(), tolerance.output});
  checks.push_back({"losses", losses.relative(), tolerance.output});
}

// One training step. Biases keep every ReLU on, since one that rounding turns off changes its gradient
// altogether; and the loss is the squared error, since derivatives of the cross-entropy cancel over a
// spectrum.
void check_step(Backend& backend, Backend& reference, const Tolerance& tolerance,
                std::vector<Check>& checks) {
  Twins twins(backend, reference, ReconstructionLoss::mse, Purpose::training,
              [](const Model::State& state, double random) {
                const double inputs = static_cast<double>(state.parameter.count() / state.parameter.shape[0]);
                return state.name.ends_with("bias") ? 1 : 0.26 / std::sqrt(inputs) * random;
              });
  constexpr double rate = 0.01;  // large, so that the weights' change has digits enough
  std::vector<std::vector<float>> before;
  for (const Model::State& state : twins.device.states())
    if (state.weight) before.push_back(read(twins.device, state));
  StepResult results[2];
  for (Model* model : {&twins.device, &twins.exact}) {
    model->start_step({1, 1}, seed, 0, rate, clip_value);
    results[model == &twins.exact] = model->finish_step();
  }
  checks.push_back({"gradient norm", std::abs(results[0].gradient_norm / results[1].gradient_norm - 1),
                    tolerance.gradient});

  // Adam's first moment after one step is the clipped gradient by a factor. From it follow the second moment
  // and the change of the weights; where a gradient is near zero, that has no more than its sign in common
  // with the reference's.
  const std::vector<Model::State>&states = twins.device.states(), &exact = twins.exact.states();
  double worst = 0;
  std::string worst_name;
  Difference second_moments, changes;
  const size_t weights = before.size();
  for (size_t i = 0; i < weights; ++i) {
    const std::vector<float> m = read(twins.device, states[weights + i]),
                             v = read(twins.device, states[2 * weights + i]),
                             w = read(twins.device, states[i]);
    Difference gradient;
    gradient.add(m, read(twins.exact, exact[weights + i]));
    if (const double error = gradient.relative(); !(error <= worst)) {
      worst = error;
      worst_name = states[i].name;
    }
    for (size_t k = 0; k < m.size(); ++k) {
      const double g = static_cast<double>(m[k]) / (1 - AdamConstants::beta1);
      second_moments.add(static_cast<double>(v[k]), (1 - AdamConstants::beta2) * g * g);
      changes.add(static_cast<double>(w[k]) - static_cast<double>(before[i][k]),
                  -rate * g / (std::abs(g) + AdamConstants::epsilon));
    }
  }
  const double as_floats = tolerance_of(DType::f32).gradient;  // which states are read as
  checks.push_back({"gradient of " + worst_name, worst, tolerance.gradient});
  checks.push_back({"second moments", second_moments.relative(), as_floats});
  checks.push_back({"change of the weights", changes.relative(), as_floats});
}

// Timing.

class Stopwatch {
 public:
  Stopwatch(Backend& backend, const BenchmarkSettings& settings, const BenchmarkObserver& observer)
      : backend_(backend),
        seconds_(settings.seconds),
        processor_time_(settings.processor_time),
        observer_(observer) {
    stages_ = 2 + std::ssize(settings.batches) * (settings.training + settings.inference);
  }

  // Progress.
  void enter(int64_t stage, std::string what) {
    stage_ = stage;
    what_ = std::move(what);
    tick();
  }
  void tick() const { observer_(stage_, stages_, what_); }

  // Repeats until so much of the settings' time is over: at least `least` times, at most `most`.
  std::vector<double> samples(double share, int64_t least, int64_t most,
                              const std::function<double()>& sample) const {
    std::vector<double> seconds;
    for (const double end = now() + share * seconds_;
         std::ssize(seconds) < least || (std::ssize(seconds) < most && now() < end);) {
      tick();
      seconds.push_back(sample());
    }
    return seconds;
  }

  double seconds_of(const std::function<void()>& work) const {
    const auto all = [&] {
      work();
      backend_.synchronize();
    };
    if (processor_time_) return processor_seconds_of(all);
    const double begin = now();
    all();
    return now() - begin;
  }

  // Time of one operation among equal ones in a row, so that gaps between launches and waiting for the device
  // do not count where the operation is short.
  Timing operation(double share, const std::function<void()>& queue) const {
    backend_.synchronize();
    seconds_of(queue);
    constexpr double long_enough = 5e-3;
    const int64_t count =
        std::clamp<int64_t>(std::llround(std::ceil(long_enough / seconds_of(queue))), 1, 100);
    const std::unique_ptr<Recording> recording = backend_.record([&queue, count] {
      for (int64_t i = 0; i < count; ++i) queue();
    });
    if (count > 1) seconds_of([&] { recording->run(); });
    return summarize(samples(
        share, 3, 1000, [&] { return seconds_of([&] { recording->run(); }) / static_cast<double>(count); }));
  }

 private:
  Backend& backend_;
  double seconds_;
  bool processor_time_;
  const BenchmarkObserver& observer_;
  int64_t stage_ = 0, stages_;
  std::string what_;
};

constexpr size_t copied_bytes = size_t{1} << 28;  // several times what caches hold

void measure_loops(Backend& backend, const Stopwatch& watch, Ceilings& ceilings) {
  const size_t bytes = std::min(2 * copied_bytes, backend.memory().available / 4);
  const BackendMemory memory(backend, bytes);
  // Pages that nobody wrote to are all the same page.
  fill_random(backend, {memory.data(), DType::f32, static_cast<int64_t>(bytes / sizeof(float))}, 1);
  for (const CeilingLoop& loop : backend.ceiling_loops(memory.data(), bytes)) {
    const Timing timing = watch.operation(1, loop.run);
    const double work = loop.flops + loop.bytes;
    ceilings.loops.push_back({loop.traffic, loop.name, work / timing.minimum, work / timing.median});
  }
}

void measure_copy(Backend& backend, const Stopwatch& watch, Ceilings& ceilings) {
  ceilings.copied_bytes = std::min(copied_bytes, backend.memory().available / 8) / 4096 * 4096;
  const BackendMemory from(backend, ceilings.copied_bytes), to(backend, ceilings.copied_bytes);
  const auto count = static_cast<int64_t>(ceilings.copied_bytes / sizeof(float));
  const Array source = {from.data(), DType::f32, count}, destination = {to.data(), DType::f32, count};
  fill_random(backend, source, 1);
  const Timing timing = watch.operation(1, [&] { backend.convert(source, destination); });
  ceilings.copy_bytes_per_second = 2 * static_cast<double>(ceilings.copied_bytes) / timing.minimum;
}

// Sizes grow until one run takes so long.
constexpr double long_run = 2e-2;

// By which power of two the work has to grow for that, or nearly so.
double growth(double seconds, double most) {
  return std::clamp(std::exp2(std::ceil(std::log2(long_run / seconds))), 2.0, most);
}

// y = x w^T of square matrices.
void measure_product(Backend& backend, const Stopwatch& watch, Ceilings& ceilings) {
  const DType type = backend.storage_type(), master = backend.master_type();
  constexpr int64_t largest = 32768;
  for (int64_t size = 256;;) {
    const size_t bytes = static_cast<size_t>(size * size) * size_of(type);
    if (3 * bytes > backend.memory().available / 2) return;
    const LinearProblem problem = {size, size, size};
    const std::unique_ptr<Linear> linear = backend.make_linear(problem, Passes::forward);
    const BackendMemory x(backend, bytes), w(backend, bytes), y(backend, bytes),
        b(backend, static_cast<size_t>(size) * size_of(master)),
        workspace(backend, std::max<size_t>(linear->workspace_bytes(), 1));
    const Array source = {x.data(), type, size * size}, weights = {w.data(), type, size * size},
                destination = {y.data(), type, size * size}, bias = {b.data(), master, size};
    fill_random(backend, source, 1);
    fill_random(backend, weights, 1);
    const auto product = [&] {
      linear->forward(source, weights, bias, false, destination, workspace.data());
    };
    watch.seconds_of(product);
    const double once = watch.seconds_of(product);
    if (once >= long_run || size == largest) {
      ceilings.matrix = size;
      ceilings.product_flops_per_second = problem.flops() / watch.operation(1, product).minimum;
      return;
    }
    // The work grows with the cube.
    size = std::min(largest,
                    size * static_cast<int64_t>(std::exp2(std::ceil(std::log2(growth(once, 512)) / 3))));
  }
}

// 3 x 3 x 3 taps of 128 channels, inside the input only, over ever more energies.
void measure_convolution(Backend& backend, const Stopwatch& watch, Ceilings& ceilings) {
  const DType type = backend.storage_type(), master = backend.master_type();
  Conv3dProblem problem;
  problem.in = {8, 8, 6};
  problem.in_channels = problem.out_channels = 128;
  problem.kernel = {3, 3, 3};
  problem.padding = {0, 0, 0};
  for (constexpr int64_t longest = 1 << 19;;) {
    const auto bytes = [](int64_t count, DType t) { return static_cast<size_t>(count) * size_of(t); };
    if (bytes(2 * problem.x_count(), type) > backend.memory().available / 2) return;
    const std::unique_ptr<Conv3d> convolution =
        backend.make_conv3d(problem, /*transposed=*/false, /*relu=*/false, Passes::forward);
    const BackendMemory x(backend, bytes(problem.x_count(), type)),
        y(backend, bytes(problem.y_count(), type)), w(backend, bytes(problem.weight_count(), master)),
        b(backend, bytes(problem.out_channels, master)),
        packed(backend, std::max<size_t>(convolution->packed_bytes(), 1)),
        workspace(backend, std::max<size_t>(convolution->workspace_bytes(), 1));
    const Array source = {x.data(), type, problem.x_count()},
                weights = {w.data(), master, problem.weight_count()},
                bias = {b.data(), master, problem.out_channels},
                destination = {y.data(), type, problem.y_count()};
    fill_random(backend, source, 1);
    fill_random(backend, weights, 1);
    convolution->pack(weights, packed.data(), workspace.data());
    const auto convolve = [&] {
      convolution->forward(source, packed.data(), bias, destination, workspace.data());
    };
    watch.seconds_of(convolve);
    const double once = watch.seconds_of(convolve);
    if (once >= long_run || problem.in.e >= longest) {
      ceilings.convolved = problem.out().volume();
      ceilings.convolution_flops_per_second = problem.flops() / watch.operation(1, convolve).minimum;
      return;
    }
    problem.in.e = (problem.in.e - 2) * static_cast<int64_t>(growth(once, 64)) + 2;
  }
}

// Fills every host slot, so that a step can take its tiles from there without their being written again.
void fill_slots(Model& model, const std::vector<float>& tiles) {
  for (int slot = 0; slot < 2; ++slot) {
    model.load_tiles(tiles.data());
    if (model.shape().blind == 0) continue;
    std::ranges::copy(tiles, model.next_inputs());
    model.load_inputs();
  }
}

// The same again.
void load_again(Model& model) {
  model.load_tiles();
  if (model.shape().blind > 0) model.load_inputs();
}

class StepTimer {
 public:
  StepTimer(Backend& backend, const Stopwatch& watch, Model& model)
      : backend_(backend),
        watch_(watch),
        model_(model),
        training_(model.purpose() == Purpose::training),
        tiles_(random_tiles(model.batch() * model.shape().tile_count())) {}

  // Calls `more` whenever the result has grown by a figure, first by the step's.
  void run(Measurement& result, bool operations, const std::function<void()>& more) {
    fill_slots(model_, tiles_);
    const auto serial = [&] {
      wait_for_slots();
      return watch_.seconds_of([&] {
        load_again(model_);
        start();
        finish();
      });
    };
    // Steps of seconds vary little from one to the next.
    constexpr double slow = 2;
    if (serial() > slow)
      least_ = 3;
    else
      for (int warm_up = 0; warm_up < 2; ++warm_up) serial();
    result.step = summarize(watch_.samples(1, least_, most, serial));
    more();

    load();
    if (!training_) start_and_load();
    result.overlapped = summarize(watch_.samples(1, least_, most, [&] {
      return watch_.seconds_of([&] {
        start_and_load();
        finish();
      });
    }));
    if (!training_) finish();

    if (!training_ && model_.batch() == 1) result.latency = latency();
    if (training_) phases(result);
    more();
    if (operations) parts(result);
  }

 private:
  static constexpr int64_t most = 1000;

  void load() {
    wait_for_slots();
    load_again(model_);
  }
  void wait_for_slots() {
    model_.next_tiles();
    if (model_.shape().blind > 0) model_.next_inputs();
  }
  void start() {
    if (training_)
      model_.start_step({1, 1}, seed, step_++, rate_, clip_value);
    else
      model_.start_reconstruction();
  }
  void finish() {
    if (training_)
      model_.finish_step();
    else
      model_.finish_reconstruction();
  }
  void start_and_load() {
    start();
    load();
  }

  // Forward, backward and update one after another, each waited for.
  void phases(Measurement& result) {
    rate_ = 0;  // parts that are repeated leave the weights as they are
    load();
    start();
    finish();
    const auto record = [&](std::initializer_list<Model::Phase> phases) {
      return backend_.record([this, list = std::vector<Model::Phase>(phases)] {
        for (const Model::Part& part : model_.parts())
          if (std::find(list.begin(), list.end(), part.phase) != list.end()) part.operation.queue();
      });
    };
    const std::unique_ptr<Recording> forward = record({Model::Phase::forward, Model::Phase::output}),
                                     backward = record({Model::Phase::backward}),
                                     update = record({Model::Phase::update});
    std::vector<double> backward_seconds, update_seconds;
    result.forward = summarize(watch_.samples(1, least_, most, [&] {
      load();
      backend_.synchronize();
      const double seconds = watch_.seconds_of([&] { forward->run(); });
      backward_seconds.push_back(watch_.seconds_of([&] { backward->run(); }));
      update_seconds.push_back(watch_.seconds_of([&] { update->run(); }));
      return seconds;
    }));
    result.backward = summarize(backward_seconds);
    result.update = summarize(update_seconds);
  }

  // In the step's order, so that each part finds what those before it left.
  void parts(Measurement& result) {
    load();
    const std::vector<Model::Part>& parts = model_.parts();
    for (size_t i = 0; i < parts.size(); ++i)
      result.parts[i].timing = watch_.operation(0.1, parts[i].operation.queue);
  }

  // With the score that detection uses, over the channels of the published one.
  Latency latency() {
    SpectrumImage tile;
    tile.y.size = tile.x.size = model_.shape().image_size;
    tile.energy.size = model_.shape().energy;
    tile.counts.assign(tiles_.begin(), tiles_.end());
    const ChannelWindow published = {900, 1024}, window = published.last <= tile.energy.size
                                                              ? published
                                                              : ChannelWindow{0, tile.energy.size};
    const std::vector<double> seconds = watch_.samples(3, 10, 1000, [&] {
      wait_for_slots();
      return watch_.seconds_of([&] {
        load_again(model_);
        model_.start_reconstruction();
        pearson_scores(tile, {model_.finish_reconstruction().tiles, tile.counts.size()}, window);
      });
    });
    return {percentile(seconds, 0.5), percentile(seconds, 0.9), percentile(seconds, 0.99),
            *std::max_element(seconds.begin(), seconds.end()), std::ssize(seconds)};
  }

  Backend& backend_;
  const Stopwatch& watch_;
  Model& model_;
  bool training_;
  std::vector<float> tiles_;
  uint64_t step_ = 0;
  double rate_ = learning_rate;
  int64_t least_ = 5;  // repetitions
};

// The largest batch that is likely to fit, where one does not: beside the weights, memory grows with it.
std::string does_not_fit(const Backend& backend, const Model& model) {
  const auto needed = static_cast<double>(model.plan().bytes()),
             available = static_cast<double>(backend.memory().available);
  const bool training = model.purpose() == Purpose::training;
  const auto master = static_cast<double>(size_of(backend.master_type())),
             activation = static_cast<double>(size_of(backend.storage_type()));
  const double state = static_cast<double>(model.shape().parameter_count()) *
                       (training ? 3 * master + (activation == master ? 0 : activation) : activation);
  const double fits = std::floor((available - state) / (needed - state) * static_cast<double>(model.batch()));
  char text[160];
  std::snprintf(text, sizeof text, "needs %.2f GiB of memory, %.2f GiB are free; ", needed / (1 << 30),
                available / (1 << 30));
  return text + (fits >= 1 ? "about " + std::to_string(static_cast<int64_t>(fits)) + " tiles would fit"
                           : std::string("no batch would fit"));
}

// The work of a step and the least time that it takes, which need no timing.
void count_work(Measurement& result, const Backend& backend, const Model& model, const Ceilings& ceilings) {
  for (const Model::Part& part : model.parts()) {
    const Operation& operation = part.operation;
    result.parts.push_back({part.layer, operation.name, part.phase, operation.flops, operation.read,
                            operation.written, Timing()});
    result.flops += operation.flops;
    result.bytes += operation.read + operation.written;
    result.parts_floor += ceilings.bound(operation.flops, operation.read, operation.written).seconds;
  }
  const bool training = model.purpose() == Purpose::training;
  const DType master = backend.master_type(), activation = backend.storage_type();
  const double reads = training ? 2 : 1, read = static_cast<double>(size_of(activation));
  result.bytes_per_parameter = reads * read;
  if (training)
    result.bytes_per_parameter +=
        6 * static_cast<double>(size_of(master)) + (activation == master ? 0 : read);
  result.memory_floor = result.bytes_per_parameter * static_cast<double>(model.shape().parameter_count()) /
                        ceilings.bytes_per_second();
  result.arithmetic_floor = result.flops / ceilings.flops_per_second();
}

}  // namespace

Timing summarize(std::vector<double> seconds) {
  expect(!seconds.empty(), "no samples");
  std::sort(seconds.begin(), seconds.end());
  return {percentile(seconds, 0.5), percentile(seconds, 0.25), percentile(seconds, 0.75), seconds.front(),
          seconds.back(),           std::ssize(seconds)};
}

double percentile(std::vector<double> samples, double fraction) {
  std::sort(samples.begin(), samples.end());
  const auto rank = static_cast<int64_t>(std::ceil(fraction * static_cast<double>(samples.size())));
  return samples[static_cast<size_t>(std::clamp<int64_t>(rank - 1, 0, std::ssize(samples) - 1))];
}

std::vector<Check> verify(Backend& backend, ReconstructionLoss loss) {
  const std::unique_ptr<Backend> reference = make_backend("reference", "auto");
  const Tolerance tolerance = tolerance_of(backend.precision());
  std::vector<Check> checks;
  check_outputs(backend, *reference, loss, tolerance, checks);
  check_step(backend, *reference, tolerance, checks);
  return checks;
}

double Ceilings::flops_per_second() const {
  double fastest = std::max(product_flops_per_second, convolution_flops_per_second);
  for (const Loop& loop : loops)
    if (loop.traffic == CeilingLoop::Traffic::none) fastest = std::max(fastest, loop.per_second);
  return fastest;
}

double Ceilings::bytes_per_second() const {
  double fastest = copy_bytes_per_second;
  for (const Loop& loop : loops)
    if (loop.traffic == CeilingLoop::Traffic::write) fastest = std::max(fastest, loop.per_second);
  return fastest;
}

double Ceilings::read_bytes_per_second() const {
  for (const Loop& loop : loops)
    if (loop.traffic == CeilingLoop::Traffic::read) return loop.per_second;
  return bytes_per_second();
}

Ceilings::Bound Ceilings::bound(double flops, double read, double written) const {
  const double computing = flops / flops_per_second();
  // A row of sums beside a matrix makes no copy of a reading operation.
  const bool reading = written < 0.05 * read;
  const double moving = (read + written) / (reading ? read_bytes_per_second() : bytes_per_second());
  if (computing > moving) return {Kind::arithmetic, computing};
  return {reading ? Kind::reading : Kind::memory, moving};
}

bool BenchmarkResult::verified() const {
  return std::all_of(checks.begin(), checks.end(), [](const Check& check) { return check.passed(); });
}

BenchmarkResult run_benchmark(Backend& backend, const BenchmarkSettings& settings,
                              const BenchmarkObserver& observer, const BenchmarkReceiver& receiver) {
  BenchmarkResult result;
  result.device = backend.device();
  result.precision = backend.precision();
  result.description = backend.description();
  result.shape = settings.shape;
  Stopwatch watch(backend, settings, observer);
  watch.enter(0, "comparing with the reference");
  result.checks = verify(backend, settings.loss);
  receiver(result);
  if (!result.verified()) return result;
  watch.enter(1, "ceilings");
  measure_loops(backend, watch, result.ceilings);
  measure_copy(backend, watch, result.ceilings);
  measure_product(backend, watch, result.ceilings);
  measure_convolution(backend, watch, result.ceilings);
  receiver(result);

  int64_t stage = 2;
  for (Purpose purpose : {Purpose::training, Purpose::inference}) {
    const bool training = purpose == Purpose::training;
    if (!(training ? settings.training : settings.inference)) continue;
    for (int64_t batch : settings.batches) {
      watch.enter(stage++, (training ? "training, batch " : "inference, batch ") + std::to_string(batch));
      Measurement& measurement = result.measurements.emplace_back();
      measurement.purpose = purpose;
      measurement.batch = batch;
      Model model(backend, settings.shape, settings.loss, batch, purpose);
      measurement.memory = model.plan().bytes();
      if (model.plan().bytes() > backend.memory().available) {
        measurement.left_out = does_not_fit(backend, model);
      } else {
        model.allocate();
        initialize(model);
        count_work(measurement, backend, model, result.ceilings);
        StepTimer(backend, watch, model).run(measurement, settings.operations, [&] { receiver(result); });
      }
      receiver(result);
    }
  }
  result.complete = true;
  receiver(result);
  return result;
}

}  // namespace eelsvae
