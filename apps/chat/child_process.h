// A command that runs within limits.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace flashmoe {

struct ChildLimits {
  int seconds = 60;
  size_t output_bytes = 32768;  // of each stream; what is in the middle of more is left out
};

struct ChildResult {
  std::string out, err;
  int exit_code = -1;
  int signal = 0;  // that ended it
  bool timed_out = false, stopped = false;
};

// Runs argv[0], found in the PATH, in a session of its own and in the folder behind `folder_descriptor`, with `input`
// on its standard input. When the time is over or `keep_going` says false, all of its process group is killed. Throws
// Error{io} when it cannot be started.
ChildResult run_child(const std::vector<std::string>& argv, int folder_descriptor, const std::string& input,
                      const ChildLimits& limits, const std::function<bool()>& keep_going);

}  // namespace flashmoe
