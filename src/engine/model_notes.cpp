#include "engine/model_notes.h"

#include <fmt/format.h>

#include "base/cpu_features.h"
#include "checkpoint/shown_name.h"
#include "engine/file_holes.h"

namespace flashmoe {

std::vector<std::string> notes_on(const ModelReport& report, const Checkpoint& checkpoint,
                                  const ChatTemplate* chat_template, int n_threads) {
  std::vector<std::string> notes;
  if (const size_t n = report.unused_tensors.size(); n > 0) {
    notes.push_back(fmt::format("{} tensor{} in the file {} not used (first: {}); see flashmoe inspect", n,
                                n == 1 ? "" : "s", n == 1 ? "is" : "are", printable(report.unused_tensors.front())));
  }
  if (chat_template != nullptr && !chat_template->fault().empty()) {
    notes.push_back(chat_template->fault() + ": plain text can be continued; --chat-template FILE brings another");
  }
  note_holes(checkpoint, notes);
  if (n_threads > usable_cpus()) {
    notes.push_back(fmt::format("--threads {} is more than the {} CPUs this process may use, which is slow", n_threads,
                                usable_cpus()));
  }
  return notes;
}

}  // namespace flashmoe
