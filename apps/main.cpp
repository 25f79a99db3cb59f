// flashmoe: picks the subcommand, and turns whatever goes wrong into one line and an exit code.
#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <new>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "commands.h"
#include "flashmoe/error.h"
#include "help.h"
#include "interrupt.h"
#include "run_description.h"
#include "terminal.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "Examples:\n"
    "  flashmoe run -p \"Explain quantum computing.\"    the built-in model\n"
    "  flashmoe run -m model.gguf --ram 8G -p \"Hello\"  a real one, within 8 GiB\n"
    "  flashmoe chat                                   talk to it\n"
    "  flashmoe inspect model.gguf                     what is in it, what it needs\n"
    "\n"
    "flashmoe SUBCOMMAND --help lists the options of each.\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 too little memory,\n"
    "130 ended by Ctrl-C (128 and the number of any other signal).";

bool has_limited_address_space() {
  rlimit limit = {};
  return getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

int exit_code(Fault fault) {
  switch (fault) {
    case Fault::usage:
      return kExitUsage;
    case Fault::memory_floor:
      return kExitMemoryFloor;
    case Fault::interrupted:
      return interrupted_exit_code();
    default:
      return kExitFailed;
  }
}

int complain(const std::string& message, int code) {
  std::string text = "flashmoe: " + message;
  if (code != kExitMemoryFloor) {  // that one brings a table
    std::replace(text.begin(), text.end(), '\n', ' ');
    text = fitted(text);
  }
  write_error(text + "\n");
  return code;
}

// "flashmoe" or "flashmoe run": whose --help to read.
std::string help_command(const CLI::App& cli) {
  const auto chosen = cli.get_subcommands();
  return chosen.empty() ? "flashmoe" : "flashmoe " + chosen.front()->get_name();
}

// A hint at the options that take what was left over.
std::string unexpected(const CLI::App& command, const std::string& argument) {
  if (argument.starts_with('-')) return "unknown option " + argument;
  if (!command.get_options([](const CLI::Option* option) { return option->get_positional(); }).empty()) {
    return "'" + argument + "' is one argument too many";
  }
  std::string hint;
  for (const auto& [flag, what] : {std::pair{"-p", "a prompt"}, std::pair{"-m", "a model"}}) {
    const CLI::Option* option = command.get_option_no_throw(flag);
    if (option == nullptr) continue;
    hint +=
        (hint.empty() ? "; give " : " and ") + std::string(what) + " with " + flag + " " + option->get_option_text();
  }
  return "'" + argument + "' is not an option" + hint;
}

// "--ram: 1 required TEXT missing" and "--ram: At Most 1 required but received 2" say less than they could.
std::string in_our_words(const std::string& complaint) {
  const size_t one = complaint.find(": 1 required "), many = complaint.find(": At Most 1 required ");
  if (one != std::string::npos && complaint.ends_with(" missing")) {
    return complaint.substr(0, one) + ": a value is missing";
  }
  return many == std::string::npos ? complaint : complaint.substr(0, many) + ": given more than once";
}

// What is left over may be why something else is missing.
std::string complaint_about(const CLI::App& cli, const CLI::ParseError& error) {
  const bool incomplete = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr ||
                          dynamic_cast<const CLI::RequiresError*>(&error) != nullptr ||
                          dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  const std::vector<std::string> left = cli.remaining(true);
  if (!incomplete || left.empty()) return in_our_words(error.what());
  const auto chosen = cli.get_subcommands();
  return unexpected(chosen.empty() ? cli : *chosen.front(), left.front());
}

int dispatch(int argc, char** argv) {
  CLI::App cli("flashmoe runs Mixture-of-Experts language models that are larger than memory.", "flashmoe");
  cli.formatter(std::make_shared<HelpFormatter>());
  cli.set_version_flag("--version", "flashmoe " + describe_version(), "Print the version");
  cli.set_help_flag("-h,--help", "Print this help");
  cli.footer(kFooter);
  cli.require_subcommand(0, 1);  // further words belong to the one that was named
  const std::array commands = {add_run(cli),       add_chat(cli),      add_serve(cli),    add_bench(cli),
                               add_moe_bench(cli), add_plan(cli),      add_doctor(cli),   add_inspect(cli),
                               add_pack(cli),      add_calibrate(cli), add_eval(cli),     add_logits(cli),
                               add_tokenize(cli),  add_trace(cli),     add_simulate(cli), add_report(cli)};

  const auto named = [&](const char* name) {
    return std::any_of(commands.begin(), commands.end(),
                       [&](const Command& command) { return command.options->get_name() == name; });
  };
  if (argc < 2) return complain("a subcommand is missing; see 'flashmoe --help'", kExitUsage);
  if (argv[1][0] != '-' && !named(argv[1])) {
    return complain("unknown subcommand '" + std::string(argv[1]) + "'; see 'flashmoe --help'", kExitUsage);
  }
  try {
    cli.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    std::ostringstream text;
    cli.exit(success, text, text);
    StandardOutput().write(text.str());
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    return complain(complaint_about(cli, error) + "; see '" + help_command(cli) + " --help'", kExitUsage);
  }
  for (const Command& command : commands) {
    if (command.options->parsed()) return command.run();
  }
  return complain("a subcommand is missing; see 'flashmoe --help'", kExitUsage);
}

int run(int argc, char** argv) {
  try {
    return dispatch(argc, argv);
  } catch (const Error& error) {
    return complain(error.what(), exit_code(error.fault()));
  } catch (const std::bad_alloc&) {
    return complain(
        std::string("out of memory: the system refused an allocation; ") +
            (has_limited_address_space() ? "raise the limit of address space (ulimit -v)" : "lower --ram or --ctx"),
        kExitFailed);
  } catch (const std::exception& error) {
    return complain(std::string("internal error: ") + error.what(), kExitFailed);
  }
}

// The first thread has what stack `ulimit -s` leaves it, and its kernels want more than some shells do.
int run_on_own_stack(int argc, char** argv) {
  constexpr size_t kStackBytes = size_t{8} << 20;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_setattr_default_np(&attributes);
  pthread_attr_destroy(&attributes);
  int code = kExitFailed;
  try {
    std::thread([&] { code = run(argc, argv); }).join();
  } catch (const std::system_error& error) {
    return complain(std::string("cannot start a thread: ") + error.what(), kExitFailed);
  }
  return code;
}

}  // namespace
}  // namespace flashmoe

int main(int argc, char** argv) {
  flashmoe::hold_standard_descriptors();
  // A closed pipe and a file size limit are seen where they are written to.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  // Each thread that allocates would reserve 64 MiB.
  if (flashmoe::has_limited_address_space()) mallopt(M_ARENA_MAX, 1);
  return flashmoe::run_on_own_stack(argc, argv);
}
