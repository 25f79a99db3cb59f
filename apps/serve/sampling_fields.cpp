#include "serve/sampling_fields.h"

#include <limits>

#include "serve/exchange.h"

namespace flashmoe {
namespace {

constexpr int64_t kMostInt = std::numeric_limits<int>::max();
constexpr size_t kMostStops = 16;

void read(const RequestFields& fields, const char* name, double least, double most, float& target) {
  if (const auto value = fields.number(name, least, most)) target = static_cast<float>(*value);
}

}  // namespace

void read_sampling(const RequestFields& fields, SamplingOptions& sampling) {
  sampling.temperature = 1;
  read(fields, "temperature", 0, 2, sampling.temperature);
  read(fields, "top_p", 0, 1, sampling.top_p);
  if (sampling.top_p <= 0) sampling.top_p = 1e-6F;  // the likeliest alone
  read(fields, "min_p", 0, 1, sampling.min_p);
  read(fields, "repetition_penalty", 0.01, 100, sampling.repetition_penalty);
  read(fields, "presence_penalty", -2, 2, sampling.presence_penalty);
  read(fields, "frequency_penalty", -2, 2, sampling.frequency_penalty);
  sampling.top_k = static_cast<int>(fields.integer("top_k", 0, kMostInt).value_or(0));
  constexpr int64_t kMostSeed = int64_t{1} << 53;  // what survives any JSON library
  const auto seed = fields.integer("seed", -kMostSeed, kMostSeed);
  sampling.seed = seed ? static_cast<uint64_t>(*seed) : random_seed();
}

void read_stop(const RequestFields& fields, const char* name, GenerateOptions& generate) {
  const Json* stop = fields.find(name);
  if (stop == nullptr) return;
  if (stop->is_string()) {
    generate.stop.push_back(fields.required_text(name));
  } else {
    const auto fail = [&] { bad_request(fields.at(name), "a string or a list of strings is expected"); };
    if (!stop->is_array()) fail();
    for (const Json& text : *stop) {
      if (!text.is_string()) fail();
      generate.stop.push_back(text.get<std::string>());
    }
  }
  if (generate.stop.size() > kMostStops) bad_request(fields.at(name), "at most 16 texts are expected");
  for (const std::string& text : generate.stop) {
    if (text.empty()) bad_request(fields.at(name), "an empty text would end every answer");
  }
}

void read_max_tokens(const RequestFields& fields, std::initializer_list<const char*> names, GenerateOptions& generate) {
  for (const char* name : names) {
    if (const auto value = fields.integer(name, 1, kMostInt)) {
      generate.max_tokens = static_cast<int>(*value);
      return;
    }
  }
}

}  // namespace flashmoe
