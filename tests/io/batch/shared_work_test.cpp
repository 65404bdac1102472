// Work that several programs share by a folder.

#include "io/batch/shared_work.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/io/file_test.h"

namespace eelsvae {
namespace {

namespace fs = std::filesystem;
using State = SharedWork::State;

class SharedWorkTest : public FileTest {
 protected:
  // As if the last sign of life had been so long ago.
  void age(const std::string& file, double seconds) const {
    timespec times[2] = {};
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= static_cast<time_t>(seconds);
    times[1] = times[0];
    ASSERT_EQ(utimensat(AT_FDCWD, path(file).c_str(), times, 0), 0);
  }
  void move_to_another_machine(const std::string& file) const {
    std::string text = read_bytes(path(file));
    const size_t at = text.find("\"machine\":\"") + 11;
    text.replace(at, 4, "none");
    write_bytes(path(file), text);
  }
};

TEST_F(SharedWorkTest, EachPieceIsBegunByOne) {
  constexpr int pieces = 50;
  std::vector<std::atomic<int>> begun(pieces);
  {
    std::vector<std::jthread> programs;
    for (int i = 0; i < 4; ++i)
      programs.emplace_back([&] {
        SharedWork work(path(""));
        for (size_t piece = 0; piece < pieces; ++piece) {
          const std::string name = "film-" + std::to_string(piece);
          const auto latest = work.latest(name);
          if (SharedWork::is_open(latest) && work.begin(name, latest, "")) ++begun[piece];
        }
      });
  }
  for (const auto& times : begun) EXPECT_EQ(times, 1);
}

TEST_F(SharedWorkTest, WhatFailsIsTriedThreeTimes) {
  SharedWork work(path(""));
  EXPECT_FALSE(work.latest("film"));
  for (int number = 1; number <= SharedWork::most_attempts; ++number) {
    const auto latest = work.latest("film");
    ASSERT_TRUE(SharedWork::is_open(latest));
    auto attempt = work.begin("film", latest, "a.npy");
    ASSERT_TRUE(attempt);
    EXPECT_EQ(attempt->number, number);
    EXPECT_FALSE(SharedWork::is_open(work.latest("film"))) << "it is at work";
    attempt->state = State::failed;
    attempt->message = "no memory";
    attempt->seconds = 2.5;
    work.end("film", *attempt);
  }
  const auto last = work.latest("film");
  EXPECT_FALSE(SharedWork::is_open(last));
  EXPECT_EQ(last->message, "no memory");
  EXPECT_EQ(last->seconds, 2.5);
  EXPECT_EQ(last->of, "a.npy");
  work.forget("film");
  EXPECT_FALSE(work.latest("film"));
}

TEST_F(SharedWorkTest, WhatIsRefusedOrDoneIsNotTriedAgain) {
  SharedWork work(path(""));
  for (const State state : {State::refused, State::done}) {
    const std::string name = state == State::done ? "done" : "refused";
    auto attempt = work.begin(name, std::nullopt, "");
    attempt->state = state;
    work.end(name, *attempt);
    EXPECT_FALSE(SharedWork::is_open(work.latest(name)));
  }
  const auto attempt = work.begin("returned", std::nullopt, "");
  work.give_back("returned", *attempt);
  EXPECT_FALSE(work.latest("returned"));
}

TEST_F(SharedWorkTest, WhoHasDiedIsReplaced) {
  const pid_t child = fork();
  if (child == 0) {
    SharedWork(path("")).begin("film", std::nullopt, "");
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  SharedWork work(path(""));
  auto latest = work.latest("film");
  ASSERT_TRUE(latest);
  EXPECT_TRUE(latest->dead);
  // Of a process on another machine nothing is known but its signs of life.
  move_to_another_machine("film.1.json");
  EXPECT_FALSE(work.latest("film")->dead);
  age("film.1.json", SharedWork::dead_seconds - 20);
  EXPECT_FALSE(work.latest("film")->dead);
  age("film.1.json", SharedWork::dead_seconds + 20);
  latest = work.latest("film");
  EXPECT_TRUE(latest->dead);
  const SharedWork::Attempt first = *latest;
  const auto second = work.begin("film", latest, "a.npy");
  ASSERT_TRUE(second);
  EXPECT_EQ(second->number, 2);
  EXPECT_FALSE(work.beat("film", first)) << "another one has taken its place";
  EXPECT_TRUE(work.beat("film", *second));
}

TEST_F(SharedWorkTest, WhoStoodStillGivesNothingBack) {
  SharedWork work(path(""));
  const auto first = work.begin("film", std::nullopt, "");
  age("film.1.json", SharedWork::dead_seconds + 20);
  const auto second = work.begin("film", work.latest("film"), "");
  work.give_back("film", *first);
  EXPECT_EQ(work.latest("film")->number, 2);
  work.give_back("film", *second);
  EXPECT_EQ(work.latest("film")->number, 1);
}

TEST_F(SharedWorkTest, ALockIsHeldByWhomItWasGivenTo) {
  SharedWork work(path("")), other(path(""));
  const int lock = work.lock("film");
  ASSERT_GE(lock, 0);
  EXPECT_EQ(other.lock("film"), -1);
  const int copy = dup(lock);  // as a program has it that was started with it
  close(lock);
  EXPECT_EQ(other.lock("film"), -1);
  close(copy);
  const int next = other.lock("film");
  EXPECT_GE(next, 0);
  close(next);
}

TEST_F(SharedWorkTest, AllAgreeOnWhatTheFirstOneSays) {
  SharedWork work(path("")), other(path(""));
  EXPECT_EQ(work.agree("options.json", "a"), "a");
  EXPECT_EQ(other.agree("options.json", "b"), "a");
}

// A clock of another program's that is gone is made anew: signs of life are still told from none. What may
// still be written stays.
TEST_F(SharedWorkTest, CleaningTakesNobodysTime) {
  SharedWork work(path("")), other(path(""));
  work.begin("film", std::nullopt, "");
  move_to_another_machine("film.1.json");
  age("film.1.json", SharedWork::dead_seconds + 20);
  write_bytes(path(".clock.host.1.2.draft.tmp"), "");
  write_bytes(path("film.1.log"), "");
  for (const auto& entry : fs::directory_iterator(path("")))
    if (entry.path().filename().string().starts_with(".clock.") && entry.path().extension() != ".tmp")
      age(entry.path().filename(), SharedWork::dead_seconds + 20);
  age("film.1.log", SharedWork::dead_seconds + 20);
  work.clean();
  EXPECT_FALSE(fs::exists(path("film.1.log")));
  EXPECT_TRUE(fs::exists(path(".clock.host.1.2.draft.tmp")));
  EXPECT_TRUE(other.latest("film")->dead);
}

TEST_F(SharedWorkTest, AFileThatIsJustMadeIsAtWork) {
  SharedWork work(path(""));
  write_bytes(path("film.1.json"), "");
  const auto latest = work.latest("film");
  EXPECT_EQ(latest->state, State::at_work);
  EXPECT_FALSE(latest->dead);
  EXPECT_FALSE(work.begin("film", std::nullopt, ""));
  EXPECT_NE(user_error([&] { SharedWork(path("nowhere")); }), "");
}

}  // namespace
}  // namespace eelsvae
