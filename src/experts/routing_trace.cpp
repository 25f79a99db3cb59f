#include "experts/routing_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMostLayers = 4096, kMostExperts = 65536, kMostRecords = 1 << 21;
constexpr uint64_t kMostBytes = uint64_t{1} << 50;  // of anything

Json class_json(const SlotClass& slots) {
  return {{"layers", slots.layers},
          {"slot_bytes", slots.slot_bytes},
          {"n_records", slots.n_records},
          {"n_slots", slots.n_slots}};
}

// Reads numbers of a header that nobody vouches for.
class Fields {
 public:
  Fields(const Json& json, const std::string& path) : json_(json), path_(path) {}

  uint64_t number(const char* name, uint64_t least, uint64_t most) const {
    const auto at = json_.find(name);
    if (at == json_.end() || !at->is_number_unsigned() || at->get<uint64_t>() < least || at->get<uint64_t>() > most) {
      fail(Fault::input, "{}: not a sound routing trace: its header's \"{}\" is missing or out of range", path_, name);
    }
    return at->get<uint64_t>();
  }
  int count(const char* name, int least, int most) const {
    return static_cast<int>(number(name, static_cast<uint64_t>(least), static_cast<uint64_t>(most)));
  }
  bool flag(const char* name) const { return count(name, 0, 1) == 1; }
  // One that the first version did not have.
  bool later_flag(const char* name) const { return json_.contains(name) && flag(name); }
  std::string text(const char* name) const {
    const auto at = json_.find(name);
    return at != json_.end() && at->is_string() ? at->get<std::string>() : std::string();
  }
  const Json& list(const char* name, size_t most) const {
    const auto at = json_.find(name);
    if (at == json_.end() || !at->is_array() || at->size() > most) {
      fail(Fault::input, "{}: not a sound routing trace: its header has no list \"{}\"", path_, name);
    }
    return *at;
  }

 private:
  const Json& json_;
  const std::string& path_;
};

SlotClass parse_class(const Json& json, const TraceHeader& header, const std::string& path) {
  const Fields fields(json, path);
  SlotClass slots;
  slots.slot_bytes = fields.number("slot_bytes", 1, kMostBytes);
  for (const Json& layer : fields.list("layers", static_cast<size_t>(header.n_layers))) {
    if (!layer.is_number_unsigned() || layer.get<uint64_t>() >= static_cast<uint64_t>(header.n_layers)) {
      fail(Fault::input, "{}: not a sound routing trace: a slot class has a layer that does not exist", path);
    }
    slots.layers.push_back(layer.get<int>());
  }
  slots.n_records = static_cast<int>(slots.layers.size()) * header.n_experts;
  slots.n_slots = fields.count("n_slots", std::min(1, slots.n_records), slots.n_records);
  return slots;
}

}  // namespace

uint64_t TraceHeader::expert_bytes() const {
  double bytes = 0, n = 0;
  for (const SlotClass& slots : classes) {
    bytes += static_cast<double>(slots.n_records) * static_cast<double>(slots.slot_bytes);
    n += slots.n_records;
  }
  return n > 0 ? static_cast<uint64_t>(bytes / n) : 0;
}

bool TraceHeader::holds_all() const {
  return !classes.empty() && std::all_of(classes.begin(), classes.end(),
                                         [](const SlotClass& slots) { return slots.n_slots == slots.n_records; });
}

std::string header_json(const TraceHeader& h) {
  Json json = {{"model", h.model},
               {"version", h.version},
               {"n_layers", h.n_layers},
               {"n_experts", h.n_experts},
               {"n_used", h.n_used},
               {"outcomes", h.has_outcomes ? 1 : 0},
               {"times", h.has_times ? 1 : 0},
               {"weights", h.has_weights ? 1 : 0},
               {"guesses", h.has_guesses ? 1 : 0},
               {"scores", h.has_scores ? 1 : 0},
               {"sequences", h.has_sequences ? 1 : 0},
               {"unasked", h.has_unasked ? 1 : 0},
               {"given_back", h.has_given_back ? 1 : 0},
               {"beside", h.has_beside ? 1 : 0},
               {"format", h.format},
               {"values_per_expert", static_cast<uint64_t>(h.values_per_expert)},
               {"trunk_bytes_per_token", h.trunk_bytes_per_token},
               {"cache_bytes", h.cache_bytes},
               {"ram_bytes", h.ram_bytes},
               {"threads", h.n_threads},
               {"kernels", h.kernels},
               {"cpu", h.cpu},
               {"io_mode", h.io_mode},
               {"n_rates", h.rates.size()},
               {"classes", Json::array()}};
  for (const SlotClass& slots : h.classes) json["classes"].push_back(class_json(slots));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

TraceHeader parse_header(std::string_view text, const std::string& path) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) fail(Fault::input, "{}: not a sound routing trace: its header is damaged", path);
  const Fields fields(json, path);
  TraceHeader h;
  h.model = fields.text("model");
  h.version = fields.text("version");
  h.n_layers = fields.count("n_layers", 1, kMostLayers);
  h.n_experts = fields.count("n_experts", 1, kMostExperts);
  h.n_used = fields.count("n_used", 1, h.n_experts);
  if (int64_t{h.n_layers} * h.n_experts > kMostRecords) {
    fail(Fault::input, "{}: not a sound routing trace: {} layers of {} experts", path, h.n_layers, h.n_experts);
  }
  h.has_outcomes = fields.flag("outcomes");
  h.has_times = fields.flag("times");
  h.has_weights = fields.flag("weights");
  h.has_guesses = fields.flag("guesses");
  h.has_scores = fields.flag("scores");
  h.has_sequences = fields.later_flag("sequences");
  h.has_unasked = fields.later_flag("unasked");
  h.has_given_back = fields.later_flag("given_back");
  h.has_beside = fields.later_flag("beside");
  h.format = fields.text("format");
  h.values_per_expert = static_cast<double>(fields.number("values_per_expert", 0, kMostBytes));
  h.trunk_bytes_per_token = fields.number("trunk_bytes_per_token", 0, kMostBytes);
  h.cache_bytes = fields.number("cache_bytes", 0, kMostBytes);
  h.ram_bytes = fields.number("ram_bytes", 0, kMostBytes);
  h.n_threads = fields.count("threads", 0, 1 << 20);
  h.kernels = fields.text("kernels");
  h.cpu = fields.text("cpu");
  h.io_mode = fields.text("io_mode");
  const size_t n_records = static_cast<size_t>(h.n_layers) * static_cast<size_t>(h.n_experts);
  const uint64_t n_rates = fields.number("n_rates", 0, n_records);
  if (n_rates != 0 && n_rates != n_records) {
    fail(Fault::input, "{}: not a sound routing trace: rates of {} experts, but it has {}", path, n_rates, n_records);
  }
  h.rates.resize(n_rates);
  std::vector<int> n_classes(static_cast<size_t>(h.n_layers));  // of each layer
  for (const Json& slots : fields.list("classes", static_cast<size_t>(h.n_layers))) {
    h.classes.push_back(parse_class(slots, h, path));
    for (const int layer : h.classes.back().layers) ++n_classes[static_cast<size_t>(layer)];
  }
  if (!h.classes.empty() && std::any_of(n_classes.begin(), n_classes.end(), [](int n) { return n != 1; })) {
    fail(Fault::input, "{}: not a sound routing trace: its layers and slot classes do not fit together", path);
  }
  return h;
}

void TraceLayer::group(std::vector<int32_t>& count) {
  distinct.clear();
  n_picks.clear();
  for (const int32_t expert : experts) {
    if (count[static_cast<size_t>(expert)]++ == 0) distinct.push_back(expert);
  }
  std::sort(distinct.begin(), distinct.end());
  for (const int32_t expert : distinct) {
    n_picks.push_back(count[static_cast<size_t>(expert)]);
    count[static_cast<size_t>(expert)] = 0;
  }
}

int TraceLayer::n_missed() const {
  return static_cast<int>(std::count_if(outcomes.begin(), outcomes.end(), [](Outcome o) { return o != Outcome::hit; }));
}

int TraceLayer::n_waited_for() const {
  return n_missed() - static_cast<int>(std::count(outcomes.begin(), outcomes.end(), Outcome::guessed));
}

uint64_t TraceStep::fetch_ns() const {
  return std::accumulate(layers.begin(), layers.end(), uint64_t{0},
                         [](uint64_t sum, const TraceLayer& layer) { return sum + layer.stage_ns[kFetchStage]; });
}

uint32_t trace_checksum(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return static_cast<uint32_t>(hash ^ (hash >> 32));
}

}  // namespace flashmoe
