#include "engine/trace_settings.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "quant/format.h"

namespace flashmoe {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c); });
  return text;
}

// One that stores its scales in its blocks, so that its bits a weight are known.
double bits_of(const std::string& name) {
  std::string known;
  for (int i = 0; i < kFormatCount; ++i) {
    const FormatInfo& info = format_info(static_cast<Format>(i));
    if (info.n_scale_matrices > 0) continue;
    if (lower(info.name) == lower(name)) return 8.0 * info.block_bytes / info.block_values;
    known += (known.empty() ? "" : ", ") + lower(info.name);
  }
  fail(Fault::usage, "--format {}: one of {} is expected", name, known);
}

// Classes of a trace that has none: one, of experts with `bytes`.
std::vector<SlotClass> one_class(const TraceHeader& header, uint64_t bytes) {
  SlotClass slots;
  slots.layers.resize(static_cast<size_t>(header.n_layers));
  std::iota(slots.layers.begin(), slots.layers.end(), 0);
  slots.slot_bytes = bytes;
  slots.n_records = header.n_layers * header.n_experts;
  return {slots};
}

}  // namespace

double expert_bytes_of(const TraceHeader& header, const WhatIf& setting, double recorded) {
  if (setting.format.empty()) return recorded;
  const double bits = bits_of(setting.format);
  if (header.values_per_expert == 0) {
    fail(Fault::usage, "--format: the trace does not tell how many weights an expert has; give --expert-size instead");
  }
  return header.values_per_expert * bits / 8;
}

std::vector<SlotClass> slots_of(const TraceHeader& header, const WhatIf& setting, double expert_bytes) {
  const bool unchanged =
      setting.format.empty() && setting.cache_bytes == 0 && setting.cache_share == 0 && setting.more_cache_bytes == 0;
  if (unchanged && header.classes.empty()) {
    fail(Fault::usage, "the trace does not tell how large the cache was; name one with --cache");
  }
  if (unchanged) return header.classes;
  if (expert_bytes == 0 && setting.cache_share == 0) {
    fail(Fault::usage, "the trace does not tell how large an expert is; give --expert-size, or --cache in percent");
  }
  const auto bytes = static_cast<uint64_t>(std::max(1.0, std::round(expert_bytes)));
  std::vector<SlotClass> classes = header.classes.empty() ? one_class(header, bytes) : header.classes;
  const double scale = header.classes.empty() ? 1 : expert_bytes / static_cast<double>(header.expert_bytes());
  double full_bytes = 0;
  for (SlotClass& slots : classes) {
    if (scale != 1) {
      slots.slot_bytes = static_cast<uint64_t>(std::max(1.0, static_cast<double>(slots.slot_bytes) * scale));
    }
    slots.n_slots = std::min(header.n_used, slots.n_records);  // the floor: below it the engine does not run
    full_bytes += static_cast<double>(slots.n_records) * static_cast<double>(slots.slot_bytes);
  }
  // A share of one class is a whole number of slots, whatever they hold.
  const double share_bytes = full_bytes * setting.cache_share * (1 + 1e-12);
  const uint64_t cache_bytes = setting.cache_bytes > 0   ? setting.cache_bytes
                               : setting.cache_share > 0 ? static_cast<uint64_t>(share_bytes)
                                                         : header.cache_bytes + setting.more_cache_bytes;
  if (const uint64_t least_bytes = slots_bytes(classes); cache_bytes < least_bytes) {
    const auto percent = [&](uint64_t part) { return 100 * static_cast<double>(part) / full_bytes; };
    fail(
        Fault::usage,
        "--cache or --cache-share: {:.3g} % of the experts is too small for a token's {} picks of one layer, which are "
        "{:.3g} %",
        percent(cache_bytes), header.n_used, percent(least_bytes));
  }
  share_out(classes, cache_bytes);
  return classes;
}

double share_of(const TraceHeader& header, const std::vector<SlotClass>& classes, double n_out_of_use) {
  double n_slots = -n_out_of_use;
  for (const SlotClass& slots : classes) n_slots += slots.n_slots;
  return n_slots / (static_cast<double>(header.n_layers) * static_cast<double>(header.n_experts));
}

double least_share_of(const TraceHeader& header) {
  double floor_bytes = 0, full_bytes = 0;
  for (const SlotClass& slots : header.classes) {
    floor_bytes += static_cast<double>(slots.slot_bytes) * std::min(header.n_used, slots.n_records);
    full_bytes += static_cast<double>(slots.slot_bytes) * slots.n_records;
  }
  return full_bytes > 0
             ? floor_bytes / full_bytes
             : static_cast<double>(header.n_used) / (static_cast<double>(header.n_layers) * header.n_experts);
}

}  // namespace flashmoe
