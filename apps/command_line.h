#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace eelsvae {

// An option of a program, under the names that CLI11 has for what can be asked of it. CLI11's headers, which
// take longer to compile than any program here, are read by command_line.cpp alone.
class CommandOption {
 public:
  explicit CommandOption(CLI::Option* option) : option_(option) {}

  CommandOption required();
  CommandOption capture_default_str();
  CommandOption default_str(const std::string& text);
  CommandOption type_name(const std::string& name);
  CommandOption expected(int least, int most);
  CommandOption one_value_each_time();  // of a list: --set A --set B
  CommandOption repeatable();           // the same, and the help does not show it as a list
  CommandOption check_member(const std::vector<std::string>& allowed);
  CommandOption check_positive();
  CommandOption check_range(int64_t low, int64_t high);
  CommandOption check_range(double low, double high);

 private:
  CLI::Option* option_;
};

// What a program takes. --version is added to it.
class CommandLine {
 public:
  CommandLine(const std::string& description, const std::string& name);
  ~CommandLine();

  void footer(const std::string& text);
  // Of the options added from here on.
  void always_capture_default();
  void group(const std::string& name);

  // T: std::string, int64_t, uint64_t, double, a std::optional of uint64_t, double or two of them, or a
  // std::vector of texts or int64_t
  template <typename T>
  CommandOption add_option(const std::string& names, T& value, const std::string& description);
  CommandOption add_flag(const std::string& names, bool& value, const std::string& description);
  // --name{text} takes the text, and --name=other another.
  CommandOption add_flag(const std::string& names, std::string& value, const std::string& description);

  // The whole of a program's main(): reads the command line into the values of the options and runs the body
  // as run_program does. A command line that cannot be understood is one line on stderr and exit status 2,
  // like every other mistake of the user.
  int run(int argc, char** argv, const std::function<int()>& body);

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace eelsvae
