#include "answer_options.h"

#include <limits>
#include <string>

#include "flashmoe/error.h"
#include "option_values.h"

namespace flashmoe {

void add_answer_options(CLI::App& cli, GenerateOptions& generate) {
  constexpr const char* kGroup = "Answer";
  SamplingOptions& sampling = generate.sampling;
  add_number(cli, "-n,--tokens", generate.max_tokens, 1, std::numeric_limits<int>::max(),
             "Most tokens to generate; default: until the model stops or the context is full")
      ->group(kGroup);
  const auto number = [&](const char* name, float& target, float least, float most, const char* description) {
    add_number(cli, name, target, least, most, description)->group(kGroup);
  };
  number("--temp", sampling.temperature, 0, 100, "Temperature; default 0: always the likeliest token");
  add_number(cli, "--top-k", sampling.top_k, 0, std::numeric_limits<int>::max(),
             "Sample from the N likeliest tokens; default 0: off")
      ->group(kGroup);
  number("--top-p", sampling.top_p, 1e-6F, 1, "Sample from the likeliest tokens that sum to N; default 1: off");
  number("--min-p", sampling.min_p, 0, 1, "Drop tokens less likely than N times the likeliest; default 0: off");
  number("--repeat-penalty", sampling.repetition_penalty, 0.01F, 100,
         "Divide the logits of tokens seen so far; default 1: off");
  number("--presence-penalty", sampling.presence_penalty, -100, 100,
         "Subtract once from every token generated so far; default 0: off");
  number("--frequency-penalty", sampling.frequency_penalty, -100, 100,
         "Subtract for every time a token was generated; default 0: off");
  add_number<uint64_t>(cli, "--seed", sampling.seed, 0, std::numeric_limits<uint64_t>::max(),
                       "The same seed gives the same text; default 0")
      ->group(kGroup);
  cli.add_option("--stop", generate.stop, "Text that ends the answer and is not part of it; may be given again")
      ->option_text("TEXT")
      ->allow_extra_args(false)
      ->group(kGroup);
}

void check_answer_options(const GenerateOptions& generate) {
  for (const std::string& text : generate.stop) {
    if (text.empty()) throw Error(Fault::usage, "--stop: the text is empty");
  }
}

}  // namespace flashmoe
