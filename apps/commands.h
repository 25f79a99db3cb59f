// The subcommands. Each puts its options on the command line and hands back what to call when it was chosen.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace flashmoe {

// What the shell sees, beside interrupted_exit_code().
enum ExitCode { kExitOk = 0, kExitFailed = 1, kExitUsage = 2, kExitMemoryFloor = 3 };

struct Command {
  CLI::App* options = nullptr;
  std::function<int()> run;  // returns an exit code; throws Error
};

Command add_run(CLI::App& cli);
Command add_chat(CLI::App& cli);
Command add_serve(CLI::App& cli);
Command add_bench(CLI::App& cli);
Command add_moe_bench(CLI::App& cli);
Command add_plan(CLI::App& cli);
Command add_doctor(CLI::App& cli);
Command add_logits(CLI::App& cli);
Command add_eval(CLI::App& cli);
Command add_calibrate(CLI::App& cli);
Command add_inspect(CLI::App& cli);
Command add_tokenize(CLI::App& cli);
Command add_pack(CLI::App& cli);
Command add_trace(CLI::App& cli);
Command add_simulate(CLI::App& cli);
Command add_report(CLI::App& cli);

}  // namespace flashmoe
