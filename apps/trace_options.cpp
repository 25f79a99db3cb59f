#include "trace_options.h"

#include <fmt/format.h>

#include "flashmoe/error.h"
#include "option_values.h"
#include "output_file.h"
#include "quantities.h"
#include "terminal.h"

namespace flashmoe {

void add_trace_options(CLI::App& cli, TraceOptions& trace) {
  constexpr const char* kGroup = "Trace";
  cli.add_option("--trace", trace.path, "Record what the router picks, for flashmoe trace, simulate and report")
      ->option_text("FILE")
      ->check(not_standard_output)
      ->group(kGroup);
  add_size(cli, "--trace-limit", trace.most_bytes, "Size at which recording ends; default 256M")->group(kGroup);
  cli.add_flag("--trace-guesses", trace.guesses,
               "Record what each layer makes of the next one's picks too; takes some time")
      ->group(kGroup);
  cli.add_flag("--trace-scores", trace.scores, "Record every expert's score too: a byte each")->group(kGroup);
}

void check_trace(const TraceOptions& trace, const std::vector<std::string>& read) {
  if (!trace.path.empty()) {
    check_writable(trace.path, read);
  } else if (trace.guesses || trace.scores || trace.most_bytes != TraceOptions().most_bytes) {
    throw Error(Fault::usage, "--trace-limit, --trace-guesses and --trace-scores need --trace FILE");
  }
}

void tell_trace_end(const TraceOptions& trace, const TraceSize& size) {
  if (!size.full) return;
  write_error(fmt::format("flashmoe: note: {}: recording ended at --trace-limit, after {} token{}\n", trace.path,
                          show_count(size.n_tokens), size.n_tokens == 1 ? "" : "s"));
}

void add_question_options(CLI::App& cli, TraceQuestion& question) {
  cli.add_flag("--unfinished", question.unfinished,
               "Read a trace that is still being written, or whose run was killed, as far as it is whole");
  constexpr const char* kGroup = "What a list of picks does not tell";
  add_size(cli, "--expert-size", question.expert_bytes, "Bytes of one expert")->group(kGroup);
  const auto take = [&question](std::string_view text) {
    double ms = 0;
    std::string expected = take_quantity(text, "a number of milliseconds", ms);
    if (expected.empty()) question.compute_s = ms * 1e-3;
    return expected;
  };
  add_list(cli, "--compute", "MS", take, "Milliseconds that computing a token takes, without waiting for reads")
      ->group(kGroup);
}

std::vector<TraceQuestion> questions_of(const std::vector<std::string>& traces, const TraceQuestion& question) {
  std::vector<TraceQuestion> questions;
  bool needs_size = false, needs_compute = false;
  for (const std::string& path : traces) {
    TraceQuestion& one = questions.emplace_back(question);
    one.path = path;
    if (question.expert_bytes == 0 && question.compute_s == 0) continue;
    const TraceTells tells = trace_tells(one);
    needs_size |= !tells.expert_bytes;
    needs_compute |= !tells.compute;
    if (tells.expert_bytes) one.expert_bytes = 0;
    if (tells.compute) one.compute_s = 0;
  }
  const char* told = question.expert_bytes > 0 && !needs_size   ? "--expert-size"
                     : question.compute_s > 0 && !needs_compute ? "--compute"
                                                                : nullptr;
  if (told != nullptr) {
    throw Error(Fault::usage, fmt::format("{}: {} tells this itself; to ask about others use flashmoe simulate", told,
                                          traces.front()));
  }
  return questions;
}

}  // namespace flashmoe
