#include "apps/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <type_traits>

#include "io/terminal/program.h"

namespace eelsvae {
namespace {

constexpr const char* is_empty = "is empty; leave it out or give a value";

}  // namespace

CommandOption CommandOption::required() {
  option_->required();
  return *this;
}
CommandOption CommandOption::capture_default_str() {
  option_->capture_default_str();
  return *this;
}
CommandOption CommandOption::default_str(const std::string& text) {
  option_->default_str(text);
  return *this;
}
CommandOption CommandOption::type_name(const std::string& name) {
  option_->type_name(name);
  return *this;
}
CommandOption CommandOption::expected(int least, int most) {
  option_->expected(least, most);
  return *this;
}
CommandOption CommandOption::one_value_each_time() {
  option_->allow_extra_args(false);
  return *this;
}
CommandOption CommandOption::repeatable() {
  option_->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return *this;
}
CommandOption CommandOption::check_member(const std::vector<std::string>& allowed) {
  option_->check(CLI::IsMember(allowed));
  return *this;
}
CommandOption CommandOption::check_positive() {
  option_->check(CLI::PositiveNumber);
  return *this;
}
CommandOption CommandOption::check_range(int64_t low, int64_t high) {
  option_->check(CLI::Range(low, high));
  return *this;
}
CommandOption CommandOption::check_range(double low, double high) {
  option_->check(CLI::Range(low, high));
  return *this;
}

CommandLine::CommandLine(const std::string& description, const std::string& name)
    : app_(std::make_unique<CLI::App>(description, name)) {}
CommandLine::~CommandLine() = default;

void CommandLine::footer(const std::string& text) {
  app_->footer(text);
}
void CommandLine::always_capture_default() {
  app_->option_defaults()->always_capture_default();
}
void CommandLine::group(const std::string& name) {
  app_->option_defaults()->group(name);
}

template <typename T>
CommandOption CommandLine::add_option(const std::string& names, T& value, const std::string& description) {
  CLI::Option* option = app_->add_option(names, value, description);
  // Empty is the same as not given for whoever reads the value: a variable of a script that has none, say.
  if constexpr (std::is_same_v<T, std::string>)
    option->check([](const std::string& text) { return text.empty() ? is_empty : ""; });
  return CommandOption(option);
}
template CommandOption CommandLine::add_option(const std::string&, std::string&, const std::string&);
template CommandOption CommandLine::add_option(const std::string&, int64_t&, const std::string&);
template CommandOption CommandLine::add_option(const std::string&, uint64_t&, const std::string&);
template CommandOption CommandLine::add_option(const std::string&, double&, const std::string&);
template CommandOption CommandLine::add_option(const std::string&, std::optional<double>&,
                                               const std::string&);
template CommandOption CommandLine::add_option(const std::string&, std::optional<uint64_t>&,
                                               const std::string&);
template CommandOption CommandLine::add_option(const std::string&, std::optional<std::array<double, 2>>&,
                                               const std::string&);
template CommandOption CommandLine::add_option(const std::string&, std::vector<std::string>&,
                                               const std::string&);
template CommandOption CommandLine::add_option(const std::string&, std::vector<int64_t>&, const std::string&);

CommandOption CommandLine::add_flag(const std::string& names, bool& value, const std::string& description) {
  return CommandOption(app_->add_flag(names, value, description));
}

CommandOption CommandLine::add_flag(const std::string& names, std::string& value,
                                    const std::string& description) {
  return CommandOption(app_->add_flag(names, value, description));
}

int CommandLine::run(int argc, char** argv, const std::function<int()>& body) {
  const std::string name = app_->get_name();
  const auto refuse = [&](const std::string& message) {
    std::fprintf(stderr, "%s: %s; %s --help lists the options\n", name.c_str(), message.c_str(),
                 name.c_str());
    return 2;
  };
  // CLI11 takes the next option for the value of "--option=".
  for (int i = 1; i < argc; ++i)
    if (const std::string argument = argv[i];
        argument.starts_with("--") && argument.find('=') + 1 == argument.size())
      return refuse(argument.substr(0, argument.size() - 1) + ": " + is_empty);
  app_->set_version_flag("--version", name + " " + EELSVAE_VERSION);
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app_->exit(error);  // --help and --version
    std::string message = error.what();
    std::replace(message.begin(), message.end(), '\n', ' ');
    return refuse(message);
  }
  return run_program(name.c_str(), body);
}

}  // namespace eelsvae
