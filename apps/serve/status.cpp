#include "serve/status.h"

#include <fmt/format.h>

#include "flashmoe/version.h"

namespace flashmoe {
namespace {

// Lines of one metric: HELP, TYPE, then each sample.
class Exposition {
 public:
  void head(const char* name, const char* type, const char* help) {
    name_ = name;
    out_ += fmt::format("# HELP flashmoe_{} {}\n# TYPE flashmoe_{} {}\n", name, help, name, type);
  }
  void sample(double value, const std::string& labels = {}) {
    out_ += fmt::format("flashmoe_{}{} {}\n", name_, labels, value);
  }
  void counter(const char* name, double value, const char* help) {
    head(name, "counter", help);
    sample(value);
  }
  void gauge(const char* name, double value, const char* help) {
    head(name, "gauge", help);
    sample(value);
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_, name_;
};

double real(uint64_t value) { return static_cast<double>(value); }

double ratio(uint64_t tokens, double seconds) { return seconds > 0 ? real(tokens) / seconds : 0; }

void add_requests(Exposition& out, const ServiceStats& s, const ConnectionCounts& c) {
  out.gauge("requests_running", s.n_running, "Answers being read or decoded.");
  out.gauge("requests_waiting", s.n_waiting, "Requests in the queue.");
  out.counter("requests_total", real(s.n_requests), "Requests taken.");
  out.counter("requests_refused_total", real(s.n_refused), "Requests refused because the queue was full.");
  out.counter("requests_failed_total", real(s.n_failed), "Requests that ended with an error.");
  out.counter("requests_cancelled_total", real(s.n_cancelled), "Requests whose client went away.");
  out.gauge("connections_open", real(c.open), "Open connections.");
  out.counter("connections_total", real(c.accepted), "Connections taken.");
  out.counter("connections_refused_total", real(c.refused), "Connections beyond the limit.");
}

void add_tokens(Exposition& out, const ServiceStats& s) {
  out.counter("prompt_tokens_total", real(s.prompt_tokens), "Tokens of prompts.");
  out.counter("cached_tokens_total", real(s.cached_tokens), "Tokens of prompts that were known from before.");
  out.counter("answer_tokens_total", real(s.answer_tokens), "Tokens of answers.");
  out.counter("prefilled_tokens_total", real(s.prefilled_tokens),
              "Tokens of prompts that were computed, those of requests that ended early included.");
  out.counter("settled_tokens_total", real(s.settled_tokens), "Tokens of answers read as history while idle.");
  out.counter("prefill_seconds_total", s.prefill_s, "Time the engine read prompts.");
  out.counter("decode_seconds_total", s.decode_s, "Time the engine decoded.");
  out.gauge("decode_tokens_per_second", s.tok_per_s, "Tokens decoded a second lately, all answers together.");
  out.gauge("prefill_tokens_per_second", ratio(s.prefilled_tokens, s.prefill_s),
            "Prompt tokens read a second, since the start.");
  out.gauge("sessions_in_memory", real(s.sessions_in_memory), "Conversations remembered in memory.");
  out.gauge("session_bytes_in_memory", real(s.session_bytes_in_memory), "Their bytes.");
  out.gauge("session_files", real(s.session_files), "Files in the folder of sessions.");
  out.gauge("session_bytes_on_disk", real(s.session_bytes_on_disk), "Their bytes.");
}

void add_experts(Exposition& out, const Stats& e) {
  out.counter("expert_hits_total", real(e.cache.hits), "Picked experts that were in memory.");
  out.counter("expert_misses_total", real(e.cache.misses), "Picked experts that had to be read.");
  out.gauge("expert_hit_rate", e.cache.hit_rate(), "Hits among all picks.");
  out.counter("expert_bytes_read_total", real(e.io.bytes_read), "Bytes of picked experts read.");
  out.counter("expert_warm_up_bytes_total", real(e.io.warm_up_bytes), "Bytes of experts read while idle.");
  out.counter("expert_guessed_total", real(e.io.read_ahead.guessed), "Experts read on a guess.");
  out.counter("expert_guesses_used_total", real(e.io.read_ahead.used), "Of these, picked.");
  out.counter("expert_wasted_bytes_total", real(e.io.read_ahead.wasted_bytes), "Bytes of guesses not picked.");
  out.counter("read_wait_seconds_total", real(e.io.wait_ns) * 1e-9, "Time the token loop stood still for reads.");
  out.counter("read_busy_seconds_total", real(e.io.busy_ns) * 1e-9, "Time with a read in flight.");
  out.gauge("memory_budget_bytes", real(e.budget_bytes), "Memory planned.");
  out.gauge("expert_cache_bytes", real(e.cache.bytes), "Memory of experts.");
  out.gauge("memory_lent_bytes", real(e.cache.lent_bytes), "Of it, planned for other things that do not need it yet.");
  out.gauge("memory_peak_bytes", real(e.peak_bytes), "Largest resident set.");
  out.head("stage_seconds_total", "counter", "Time in each stage, for each kind of layer.");
  for (size_t kind = 0; kind < kLayerKindCount; ++kind) {
    uint64_t norm = 0;
    for (size_t stage = 0; stage < kStageCount; ++stage) {
      uint64_t ns = e.stages.ns[kind][stage];
      const auto label = [&] {
        return fmt::format("{{layer=\"{}\",stage=\"{}\"}}", kLayerKindNames[kind], kStageNames[stage]);
      };
      if (stage == static_cast<size_t>(Stage::norm_mix)) {  // both norms are one
        norm = ns;
        continue;
      }
      if (stage == static_cast<size_t>(Stage::norm_route)) ns += norm;
      if (ns > 0) out.sample(real(ns) * 1e-9, label());
    }
  }
}

}  // namespace

bool is_failing(const ServiceStats& stats) { return !stats.lasting_fault.empty(); }

Json health(const ServiceStats& stats) {
  Json json = {{"status", is_failing(stats) ? "failing" : "ok"}};
  if (is_failing(stats)) json["error"] = stats.lasting_fault;
  json["running"] = stats.n_running;
  json["waiting"] = stats.n_waiting;
  return json;
}

Json props(const Service& service, const Served& served, const ServeLimits& limits) {
  const Engine& engine = service.engine();
  const ModelReport& report = engine.report();
  const MemoryPlan& plan = engine.memory_plan();
  const ServiceStats stats = service.stats();
  Json allotments = Json::object();
  for (const Allotment& allotment : plan.allotments) allotments[allotment.name] = allotment.bytes;
  return {{"version", kVersion},
          {"model",
           {{"id", served.model_name},
            {"family", report.family},
            {"container", report.container},
            {"parameters", report.n_parameters},
            {"file_bytes", report.file_bytes},
            {"layers", report.n_layers},
            {"experts", report.n_experts},
            {"experts_used", report.n_experts_used}}},
          {"context_tokens", engine.context_tokens()},
          {"parallel", served.n_parallel},
          {"queue", served.n_waiting},
          {"has_chat_template", report.has_chat_template},
          {"memory",
           {{"limit_bytes", plan.limit_bytes},
            {"budget_bytes", plan.budget_bytes()},
            {"lent_bytes", stats.engine.cache.lent_bytes},
            {"experts", plan.experts_resident ? "resident" : "streamed"},
            {"allotments", allotments}}},
          {"limits", {{"body_bytes", limits.body_bytes}, {"connections", limits.n_connections}}},
          {"kernels", stats.engine.kernels},
          {"threads", stats.engine.n_threads},
          {"io_mode", stats.engine.io.mode},
          {"read_ahead", stats.engine.io.read_ahead.verdict},
          {"live",
           {{"running", stats.n_running},
            {"waiting", stats.n_waiting},
            {"tok_per_s", stats.tok_per_s},
            {"hit_rate", stats.engine.cache.hit_rate()},
            {"gb_per_s", stats.engine.io.gb_per_s()},
            {"sessions_in_memory", stats.sessions_in_memory}}}};
}

Json models(const Engine& engine, const Served& served) {
  // What OpenAI's clients read, and then what Anthropic's do.
  const Json model = {{"id", served.model_name},
                      {"object", "model"},
                      {"created", 0},
                      {"owned_by", "flashmoe"},
                      {"context_tokens", engine.context_tokens()},
                      {"type", "model"},
                      {"display_name", served.model_name},
                      {"created_at", "1970-01-01T00:00:00Z"}};
  return {{"object", "list"},
          {"data", Json::array({model})},
          {"first_id", served.model_name},
          {"last_id", served.model_name},
          {"has_more", false}};
}

std::string metrics(const ServiceStats& stats, const ConnectionCounts& connections) {
  Exposition out;
  add_requests(out, stats, connections);
  add_tokens(out, stats);
  add_experts(out, stats.engine);
  return out.take();
}

}  // namespace flashmoe
