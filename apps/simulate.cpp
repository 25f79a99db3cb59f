// flashmoe simulate: what other memory, disks, formats or policies would make of a recorded run.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "flashmoe/trace.h"
#include "flashmoe/wording.h"
#include "interrupt.h"
#include "json.h"
#include "option_values.h"
#include "quantities.h"
#include "terminal.h"
#include "trace_options.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "Lists are tried in all combinations. Sizes are of the cache of experts alone;\n"
    "+SIZE is beside what the recorded run had.\n"
    "\n"
    "Examples:\n"
    "  flashmoe simulate run.trace --cache +0G,+32G\n"
    "  flashmoe simulate run.trace --disk 3.5,7 --format q4_k,iq3_xxs\n"
    "  flashmoe simulate picks.jsonl --cache 5%,10%,20% --policy lru,belady";

struct Chosen {
  TraceQuestion question;
  std::vector<WhatIf> caches;  // of which only the cache is set
  std::vector<double> disks, ram_speeds;
  std::vector<CachePolicy> policies;
  std::vector<std::string> formats;
  bool json = false;
};

std::string take_cache(std::string_view text, std::vector<WhatIf>& caches) {
  WhatIf setting;
  const bool more = text.starts_with('+');
  const auto bytes = parse_bytes(more ? text.substr(1) : text);
  if (text.ends_with('%')) {
    double percent = 0;
    if (!read_positive(text.substr(0, text.size() - 1), percent) || percent > 100) {
      return "a share above 0 %, and at most 100 %, is expected";
    }
    setting.cache_share = percent / 100;
  } else if (bytes && (more || *bytes > 0)) {
    (more ? setting.more_cache_bytes : setting.cache_bytes) = *bytes;
  } else {
    return "a size such as 8G, +32G or 20% is expected";
  }
  caches.push_back(setting);
  return "";
}

std::string take_policy(std::string_view text, std::vector<CachePolicy>& policies) {
  for (size_t i = 0; i < kCachePolicyNames.size(); ++i) {
    if (text != kCachePolicyNames[i]) continue;
    policies.push_back(static_cast<CachePolicy>(i));
    return "";
  }
  return "one of two-timescale, lru, lfu, belady is expected";
}

std::string take_number(std::string_view text, std::string_view what, std::vector<double>& numbers) {
  double number = 0;
  std::string expected = take_quantity(text, what, number);
  if (expected.empty()) numbers.push_back(number);
  return expected;
}

template <typename T>
std::vector<T> or_default(std::vector<T> list, T value) {
  if (list.empty()) list.push_back(value);
  return list;
}

std::vector<WhatIf> combinations(const Chosen& chosen) {
  std::vector<WhatIf> all;
  for (const CachePolicy policy : or_default(chosen.policies, CachePolicy::two_timescale)) {
    for (const std::string& format : or_default(chosen.formats, std::string())) {
      for (const double ram_speed : or_default(chosen.ram_speeds, 1.0)) {
        for (const double disk : or_default(chosen.disks, 0.0)) {
          for (WhatIf setting : or_default(chosen.caches, WhatIf())) {
            setting.policy = policy;
            setting.format = format;
            setting.ram_speed = ram_speed;
            setting.disk_gb_per_s = disk;
            all.push_back(setting);
          }
        }
      }
    }
  }
  return all;
}

const char* policy_name(CachePolicy policy) { return kCachePolicyNames[static_cast<size_t>(policy)]; }

std::string row(const WhatIf& setting, const WhatIfResult& r) {
  return fmt::format("{:<14}{:<9}{:>5.3g}{:>9}{:>8.1f} {:>9}{:>8.1f}{:>8.1f}{:>9}\n", policy_name(setting.policy),
                     setting.format.empty() ? "-" : setting.format, setting.ram_speed,
                     r.disk_gb_per_s > 0 ? fmt::format("{:.3g}", r.disk_gb_per_s) : "-", 100 * r.cache_share,
                     r.cache_bytes > 0 ? human_bytes(r.cache_bytes) : "-", 100 * r.all.hit_rate(),
                     100 * r.decode.hit_rate(), r.tok_per_s ? fmt::format("{:.2f}", *r.tok_per_s) : "-");
}

std::string text_of(const std::vector<WhatIf>& settings, const std::vector<WhatIfResult>& results) {
  std::string out =
      "policy        format     RAM     disk   cache               hit rate, %   decode\n"
      "                       speed     GB/s       %      size     all  decode    tok/s\n";
  for (size_t i = 0; i < settings.size(); ++i) out += row(settings[i], results[i]);
  return out;
}

std::string json_of(const std::vector<WhatIf>& settings, const std::vector<WhatIfResult>& results) {
  auto list = Json::array();
  for (size_t i = 0; i < settings.size(); ++i) {
    const WhatIfResult& r = results[i];
    list.push_back({{"policy", policy_name(settings[i].policy)},
                    {"format", settings[i].format},
                    {"ram_speed", settings[i].ram_speed},
                    {"disk_gb_per_s", r.disk_gb_per_s},
                    {"cache_bytes", r.cache_bytes},
                    {"cache_share", r.cache_share},
                    {"hit_rate", r.all.hit_rate()},
                    {"decode_hit_rate", r.decode.hit_rate()},
                    {"bytes_missed_per_token", r.bytes_missed_per_token},
                    {"tok_per_s", r.tok_per_s ? Json(*r.tok_per_s) : nullptr}});
  }
  return dump(list, 2) + "\n";
}

int run(Chosen& chosen) {
  catch_interrupts();
  ProgressLine progress;
  chosen.question.on_progress = [&](const Progress& step) { progress.show(step); };
  chosen.question.keep_going = [] { return !interrupted(); };
  const std::vector<WhatIf> settings = combinations(chosen);
  const std::vector<WhatIfResult> results = simulate_trace(chosen.question, settings);
  progress.erase();
  StandardOutput().write(chosen.json ? json_of(settings, results) : text_of(settings, results));
  return kExitOk;
}

}  // namespace

Command add_simulate(CLI::App& cli) {
  auto chosen = std::make_shared<Chosen>();
  Chosen& c = *chosen;
  CLI::App* options = cli.add_subcommand("simulate", "Tell what other hardware would make of a recorded run");
  options->add_option("FILE", c.question.path, "The trace")->required()->check(not_empty);
  add_list(
      *options, "--cache", "SIZE,...", [&c](std::string_view text) { return take_cache(text, c.caches); },
      "Caches of experts: 8G, 20% of all experts, or +32G; default: as recorded");
  add_list(
      *options, "--disk", "GB/s,...",
      [&c](std::string_view text) { return take_number(text, "a number of GB/s", c.disks); },
      "Disks, by their speed while reads are under way; default: as recorded");
  add_list(
      *options, "--ram-speed", "N,...",
      [&c](std::string_view text) { return take_number(text, "a multiple", c.ram_speeds); },
      "Memories, as multiples of the recorded machine's speed; default: 1");
  add_list(
      *options, "--policy", "NAME,...", [&c](std::string_view text) { return take_policy(text, c.policies); },
      "Who is evicted: two-timescale (the engine's), lru, lfu, belady (knows the future)");
  const auto take_format = [&c](std::string_view text) {
    c.formats.emplace_back(text);
    return std::string(text.empty() ? "a format such as q4_k is expected" : "");
  };
  add_list(*options, "--format", "NAME,...", take_format,
           "Number formats of the experts, such as q4_k or iq3_xxs; default: as recorded");
  options->add_flag("--json", c.json, "Print everything as JSON");
  add_question_options(*options, c.question);
  options->footer(kFooter);
  return {options, [chosen] { return run(*chosen); }};
}

}  // namespace flashmoe
