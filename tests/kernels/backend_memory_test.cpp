#include <cstdint>
#include <limits>

#include "tests/kernels/backend_test.h"

namespace eelsvae {
namespace {

class BackendMemoryTest : public BackendTest {};
EELSVAE_FOR_EACH_BACKEND(BackendMemoryTest);

TEST_P(BackendMemoryTest, IsAlignedAndZeroed) {
  for (size_t bytes : {size_t{1}, size_t{4096}, size_t{5000}, size_t{3} << 20}) {
    SCOPED_TRACE(bytes);
    // The second round may get the memory that the first one dirtied.
    for (int round = 0; round < 2; ++round) {
      void* memory = backend().allocate(bytes);
      ASSERT_NE(memory, nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 256, 0u);
      std::vector<unsigned char> host(bytes, 1);
      backend().download(memory, host.data(), bytes);
      EXPECT_EQ(std::count(host.begin(), host.end(), 0), static_cast<std::ptrdiff_t>(bytes));
      std::fill(host.begin(), host.end(), static_cast<unsigned char>(0x5a));
      backend().upload(host.data(), memory, bytes);
      backend().release(memory, bytes);
    }
  }
}

TEST_P(BackendMemoryTest, UploadAndDownloadRoundTrip) {
  Values values = rounded(random_normal(10007, 1, 1), activation());
  EXPECT_TRUE(equal(DeviceArray(backend(), activation(), values).download(), values));
}

// Two columns of a (3, 5) array: the others keep what they hold.
TEST_P(BackendMemoryTest, RowsCopyAPartOfEachRow) {
  DeviceArray array(backend(), DType::f32, random_integers(15, 9, 1));
  Values expected = array.download();
  std::vector<float> columns = {1, 2, 3, 4, 5, 6}, back(6);
  float* first = static_cast<float*>(array.data()) + 3;
  backend().upload_rows(columns.data(), 2 * sizeof(float), first, 5 * sizeof(float), 3);
  for (size_t row = 0; row < 3; ++row)
    for (size_t c = 0; c < 2; ++c) expected[row * 5 + 3 + c] = columns[row * 2 + c];
  EXPECT_TRUE(equal(array.download(), expected));
  backend().download_rows(first, 5 * sizeof(float), back.data(), 2 * sizeof(float), 3);
  EXPECT_EQ(back, columns);
  backend().upload_rows(nullptr, 0, first, 5 * sizeof(float), 0);  // no rows, nothing to read
}

TEST_P(BackendMemoryTest, TooMuchIsTheUsersMistake) {
  DeviceMemory memory = backend().memory();
  EXPECT_GT(memory.available, 0u);
  EXPECT_LE(memory.available, memory.total);
  for (size_t bytes : {2 * memory.total, std::numeric_limits<size_t>::max()}) {
    try {
      backend().release(backend().allocate(bytes), bytes);
      ADD_FAILURE() << bytes << " bytes of " << memory.total << " were promised";
    } catch (const UserError& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
  }
}

TEST_P(BackendMemoryTest, NamesItself) {
  EXPECT_EQ(backend().device().substr(0, GetParam().device.size()), GetParam().device);
  EXPECT_EQ(backend().precision(), GetParam().precision);
  EXPECT_FALSE(backend().description().empty());
}

// A batch after the other, each taken up by an operation while the next is filled in.
TEST_P(BackendMemoryTest, AFeedKeepsBatchesApart) {
  constexpr int64_t count = 1000;
  const size_t bytes = count * sizeof(float);
  DeviceBytes staging(backend(), backend().staging_bytes(bytes));
  const std::unique_ptr<Feed> feed = backend().make_feed(bytes, staging.data());
  DeviceArray in(backend(), DType::f32, count), first(backend(), DType::f32, count),
      second(backend(), DType::f32, count), third(backend(), DType::f32, count);
  float number = 0;
  for (DeviceArray* out : {&first, &second, &third}) {
    std::fill_n(static_cast<float*>(feed->slot()), count, ++number);
    feed->submit(in.data());
    backend().convert(in, *out);
  }
  EXPECT_TRUE(equal(first.download(), Values(count, 1)));
  EXPECT_TRUE(equal(second.download(), Values(count, 2)));
  EXPECT_TRUE(equal(third.download(), Values(count, 3)));
}

TEST_P(BackendMemoryTest, ADrainKeepsBatchesApart) {
  constexpr int64_t count = 1000;
  const size_t bytes = count * sizeof(float);
  DeviceBytes staging(backend(), backend().staging_bytes(bytes));
  const std::unique_ptr<Drain> drain = backend().make_drain(bytes, staging.data());
  DeviceArray out(backend(), DType::f32, count);
  auto submit = [&](double number) {
    DeviceArray source(backend(), DType::f32, Values(count, number));
    backend().convert(source, out);
    drain->submit(out.data());
  };
  EXPECT_THROW(drain->wait(), std::logic_error);
  submit(1);
  for (int number = 2; number < 6; ++number) {
    submit(number);
    const float* oldest = static_cast<const float*>(drain->wait());
    EXPECT_EQ(std::count(oldest, oldest + count, static_cast<float>(number - 1)), count);
  }
  const float* last = static_cast<const float*>(drain->wait());
  EXPECT_EQ(std::count(last, last + count, 5.0f), count);
}

TEST_P(BackendMemoryTest, ARecordingDoesNothingUntilItRunsAndThenTheSameAgain) {
  DeviceArray in(backend(), DType::f32, Values{1, 2, 3}), out(backend(), DType::f32, Values{0, 0, 0});
  const std::unique_ptr<Recording> recording = backend().record([&] { backend().convert(in, out); });
  EXPECT_TRUE(equal(out.download(), {0, 0, 0}));
  recording->run();
  EXPECT_TRUE(equal(out.download(), {1, 2, 3}));
  in.upload({4, 5, 6});
  recording->run();
  recording->run();
  EXPECT_TRUE(equal(out.download(), {4, 5, 6}));
}

}  // namespace
}  // namespace eelsvae
