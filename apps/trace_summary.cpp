#include "trace_summary.h"

#include <fmt/format.h>

#include "flashmoe/wording.h"
#include "quantities.h"

namespace flashmoe {

std::string trace_summary_text(const TraceSummary& s) {
  std::string out;
  const auto row = [&out](const char* name, const std::string& value) {
    out += fmt::format("  {:<14} {}\n", name, without_controls(value));
  };
  row("model", fmt::format("{}: {} layers of {} experts, {} used", s.model, s.n_layers, s.n_experts, s.n_used));
  row("tokens", fmt::format("{}, {} of them decoded{}{}", show_count(s.n_tokens), show_count(s.n_decoded),
                            s.n_sequences > 1 ? fmt::format(", of {} sequences", show_count(s.n_sequences)) : "",
                            s.full ? "; the size limit was reached" : ""));
  if (s.cache_bytes > 0) {
    row("cache", fmt::format("{}: {:.1f} % of the experts, {} each", human_bytes(s.cache_bytes), 100 * s.cache_share,
                             human_bytes(s.expert_bytes)));
  }
  if (s.recorded && s.recorded_decode) {
    row("hit rate", fmt::format("{:.1f} %; of decoded tokens {:.1f} %", 100 * s.recorded->hit_rate(),
                                100 * s.recorded_decode->hit_rate()));
  }
  if (s.tok_per_s > 0) {
    row("decode", fmt::format("{:.2f} tok/s: {:.2f} ms computing, {:.2f} ms waiting", s.tok_per_s, 1e3 * s.compute_s,
                              1e3 * (1 / s.tok_per_s - s.compute_s)));
  }
  if (s.disk_gb_per_s > 0) row("disk", fmt::format("{:.2f} GB/s while reads were under way", s.disk_gb_per_s));
  return out;
}

}  // namespace flashmoe
