#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>

namespace eelsvae {

// Pieces of work that any number of programs share, on one machine or on many that see the same folder,
// without a server. Of each piece there are attempts, numbered from 1, each a small file in the folder that
// only one program can make: who makes the next one works on it. Nothing is ever locked. Who works gives a
// sign of life at least every ten seconds; who gives none for two minutes, or whose process has ended on this
// machine, is taken for dead, and another one may make the next attempt.
class SharedWork {
 public:
  enum class State { at_work, failed, refused, done };
  struct Attempt {
    int number = 0;
    State state = State::at_work;
    std::string of;       // what the piece was, as the caller has it
    std::string host;     // who works or has worked on it
    std::string message;  // why it failed
    double seconds = 0;   // that it took
    bool dead = false;    // at work, and without a sign of life
  };

  static constexpr int most_attempts = 3;
  static constexpr double beat_seconds = 10, dead_seconds = 120;

  // The folder exists. UserError where files cannot be made in it.
  explicit SharedWork(std::filesystem::path folder);
  ~SharedWork();
  SharedWork(const SharedWork&) = delete;
  SharedWork& operator=(const SharedWork&) = delete;

  // The latest one; absent: nobody has tried.
  std::optional<Attempt> latest(const std::string& name) const;
  // Whether somebody may still try it: never tried, or failed or dead with attempts left.
  static bool is_open(const std::optional<Attempt>& latest);

  // Begins the next attempt, of a piece whose latest one is this; absent: another program was faster.
  // UserError where its file cannot be made.
  std::optional<Attempt> begin(const std::string& name, const std::optional<Attempt>& latest,
                               const std::string& of);
  // A sign of life. Whether the attempt is still the latest one: a program that stood still for too long
  // finds that another has taken its place.
  bool beat(const std::string& name, const Attempt& attempt) const;
  // UserError.
  void end(const std::string& name, const Attempt& attempt) const;
  // As if it had never begun, unless another one has followed.
  void give_back(const std::string& name, const Attempt& attempt) const;
  // As if the piece had never been tried.
  void forget(const std::string& name) const;

  // What says that somebody works on the piece for as long as it or a copy of it is open, in other programs,
  // too, where the file system has locks: a descriptor; -1: somebody has it. UserError where it cannot be
  // made.
  int lock(const std::string& name) const;
  // Writes a file of the folder that only the first one writes; its content, whoever did.
  std::string agree(const std::string& name, const std::string& content) const;
  // Removes what programs that were killed have left, but not attempts, nor what somebody may be writing.
  void clean() const;

 private:
  std::filesystem::path file_of(const std::string& name, int number) const;
  std::string content_of(const Attempt& attempt) const;
  bool make_once(const std::filesystem::path& file, const std::string& content) const;
  double seconds_since(const std::filesystem::path& file) const;

  std::filesystem::path folder_, clock_;
  std::string host_, machine_;
};

}  // namespace eelsvae
