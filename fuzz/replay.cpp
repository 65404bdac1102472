// Runs a target without libFuzzer: every file of its corpus, then mutations of them, the same in every run.
//
//   fuzz_npy CORPUS_FOLDER MUTATIONS
//
// Nothing may take longer than ten seconds. The input that ended the program is left in failing-input.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

std::string current;

void leave_input(int signal) {
  const int file = open("failing-input", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const bool written = file >= 0 && write(file, current.data(), current.size()) >= 0;
  const char* text = written ? "the input is left in failing-input\n" : "the input cannot be written\n";
  if (write(STDERR_FILENO, text, std::char_traits<char>::length(text)) < 0) _exit(1);
  std::signal(signal, SIG_DFL);
  raise(signal);
}

void run(std::string input) {
  current = std::move(input);
  alarm(10);
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(current.data()), current.size());
}

class Mutator {
 public:
  explicit Mutator(const std::vector<std::string>& corpus) : corpus_(corpus) {}

  std::string operator()() {
    std::string input = corpus_[below(corpus_.size())];
    for (size_t changes = 1 + below(4); changes-- > 0;) change(input);
    return input;
  }

 private:
  size_t below(size_t limit) { return limit ? random_() % limit : 0; }

  void change(std::string& input) {
    const size_t place = below(input.size() + 1), length = 1 + below(8);
    static const std::string edges[] = {std::string(1, '\0'),
                                        std::string(4, '\xff'),
                                        std::string(8, '\xff'),
                                        "\x7f",
                                        "-1",
                                        "1e999",
                                        "9223372036854775807",
                                        "\"",
                                        "{",
                                        "\n"};
    switch (below(6)) {
      case 0:  // a bit
        if (place < input.size()) input[place] = static_cast<char>(input[place] ^ 1 << below(8));
        break;
      case 1:
        if (place < input.size()) input[place] = static_cast<char>(random_());
        break;
      case 2:
        input.erase(place, length);
        break;
      case 3:
        input.insert(place, input.substr(below(input.size() + 1), length));
        break;
      case 4: {
        const std::string& edge = edges[below(std::size(edges))];
        input.replace(place, below(2) ? std::min(edge.size(), input.size() - place) : 0, edge);
        break;
      }
      default:  // rarely, as little is left of the input
        if (below(8) == 0) input.resize(place);
    }
  }

  const std::vector<std::string>& corpus_;
  std::mt19937 random_{1};
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER MUTATIONS\n", argv[0]);
    return 2;
  }
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM})
    std::signal(signal, leave_input);
  std::vector<std::string> corpus;
  std::vector<std::filesystem::path> files{std::filesystem::directory_iterator(argv[1]), {}};
  std::sort(files.begin(), files.end());
  for (const std::filesystem::path& path : files) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    run(corpus.back());
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: no inputs\n", argv[1]);
    return 1;
  }
  // A slow machine makes fewer of them.
  const auto begin = std::chrono::steady_clock::now();
  const long mutations = std::atol(argv[2]);
  Mutator mutate(corpus);
  long done = 0;
  for (; done < mutations && std::chrono::steady_clock::now() - begin < std::chrono::seconds(5); ++done)
    run(mutate());
  alarm(0);
  std::printf("%zu inputs and %ld mutations\n", corpus.size(), done);
  return 0;
}
