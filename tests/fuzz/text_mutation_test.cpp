// Damaged tokenizers and chat templates: each is refused with an Error, or turns text to ids and back.
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/check.h"
#include "checkpoint/checkpoint.h"
#include "flashmoe/error.h"
#include "live_bytes.h"
#include "support/mutation.h"
#include "support/temp_dir.h"
#include "support/test_data.h"
#include "support/tiny_model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "text/tokenizer_parts.h"

namespace flashmoe {
namespace {

// An id may be as large as kMaxTokens allows, and each up to it takes a few bytes.
constexpr size_t kMaxExtraBytes = 24 * static_cast<size_t>(kMaxTokens);
const char* const kText =
    "The sun's <|im_start|>user\n \xF0\x9F\x8C\x9E caf\xC3\xA9 e\xCC\x81 \xFF\xC3 12345  \r\n\t</think>";

void use(const Tokenizer& tokenizer) {
  for (const Marks marks : {Marks::parse, Marks::as_text}) {
    for (const int32_t id : tokenizer.encode(kText, marks)) {
      CHECK(id >= 0 && id < tokenizer.size());
      CHECK(tokenizer.bytes(id).size() < kMiB);
      tokenizer.ends_turn(id);
      tokenizer.is_special(id);
    }
  }
}

// Runs `attempt` on damaged inputs, which returns whether its input was taken.
void expect_harmless(int n, uint64_t seed, const std::function<std::string(Random&)>& make,
                     const std::function<void(const std::string&)>& attempt) {
  Random random(seed);
  int n_taken = 0;
  for (int i = 0; i < n; ++i) {
    const std::string input = make(random);
    const size_t allowed = live_bytes() + 20 * input.size() + kMaxExtraBytes;
    reset_peak_live_bytes();
    try {
      attempt(input);
      ++n_taken;
    } catch (const Error& error) {
      ASSERT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos) << error.what();
    } catch (const std::exception& error) {
      FAIL() << error.what() << " with mutation " << i << ": " << input.substr(0, 4096);
    }
    ASSERT_LE(peak_live_bytes(), allowed) << "mutation " << i;
  }
  // Both ways out are taken, or the mutations test nothing.
  EXPECT_GT(n_taken, n / 100);
  EXPECT_LT(n_taken, n * 99 / 100);
}

// A file of a tiny model.
std::string tiny_file(TinyLayout layout, const char* name) {
  const TempDir dir;
  TinyModelOptions tiny;
  tiny.layout = layout;
  tiny.n_layers = tiny.full_attention_interval = 1;
  tiny.n_experts = 2;
  tiny.d_model = 32;
  tiny.with_tokenizer = true;
  const std::string path = write_tiny_model(dir.path(), tiny);
  return read_bytes(layout == TinyLayout::gguf ? path : dir / name);
}

TEST(TextMutation, TokenizerJson) {
  const std::string whole = tiny_file(TinyLayout::hf_stacked, "tokenizer.json");
  use(*Tokenizer::from_json(whole));
  expect_harmless(
      fuzz_count(2000), 71,
      [&](Random& random) { return random.below(3) == 0 ? mutated(whole, random) : mutated_json(whole, random); },
      [](const std::string& text) { use(*Tokenizer::from_json(text)); });
}

// Normalizers, splits and byte levels of every kind that is known, beside the smallest vocabulary.
TEST(TextMutation, TokenizerPipelines) {
  auto base = nlohmann::json::parse(tiny_file(TinyLayout::hf_stacked, "tokenizer.json"));
  const auto variants = nlohmann::json::parse(read_test_data("text/tokenizer_variants.json"));
  std::vector<std::string> sources;
  for (const auto& variant : variants) {
    nlohmann::json parts = {{"added_tokens", base["added_tokens"]}};
    for (const char* part : {"normalizer", "pre_tokenizer", "decoder"}) parts[part] = base[part];
    parts.update(variant["patch"]);
    parts.erase("model");
    sources.push_back(parts.dump());
  }
  base["model"]["merges"] = nlohmann::json::array();
  expect_harmless(
      fuzz_count(2000), 72, [&](Random& random) { return mutated_json(sources[random.below(sources.size())], random); },
      [&](const std::string& text) {
        auto definition = base;
        const auto damaged = nlohmann::json::parse(text, nullptr, false);
        if (!damaged.is_object()) throw Error(Fault::input, "not an object");
        for (const auto& [key, value] : damaged.items()) definition[key] = value;
        use(*Tokenizer::from_json(definition.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
      });
}

TEST(TextMutation, GgufTokenizers) {
  const TempDir dir;
  const std::string whole = tiny_file(TinyLayout::gguf, "");
  const size_t begin = whole.find("tokenizer.ggml.model"), end = whole.find("token_embd.weight");
  ASSERT_LT(begin, end);
  ASSERT_LT(end, whole.size());
  expect_harmless(
      fuzz_count(1000), 73, [&](Random& random) { return mutated_within(whole, begin, end, random); },
      [&](const std::string& bytes) {
        const auto checkpoint = Checkpoint::open(dir.write("m.gguf", bytes));
        const auto tokenizer = Tokenizer::load(*checkpoint);
        if (tokenizer) use(*tokenizer);
        const auto chat = ChatTemplate::load(*checkpoint);
        if (!tokenizer || !chat) throw Error(Fault::input, "lacks a part");
        chat->encode({{"messages", {{{"role", "user"}, {"content", "Hi <|im_end|>"}}}}}, *tokenizer);
      });
}

}  // namespace
}  // namespace flashmoe
