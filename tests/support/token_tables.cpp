#include "support/token_tables.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "checkpoint/checkpoint.h"

namespace flashmoe {
namespace {

std::shared_ptr<const TokenTrie> trie(const std::vector<std::string>& texts, const std::vector<uint8_t>& added,
                                      const std::vector<int32_t>& ends) {
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  return std::make_shared<const TokenTrie>(TokenTable{views, added, ends});
}

std::vector<int32_t> allowed_tokens(GrammarState& state, int32_t n) {
  static std::vector<float> logits;
  logits.assign(static_cast<size_t>(n), 0.0f);
  state.mask(logits);
  std::vector<int32_t> allowed;
  for (int32_t id = 0; id < n; ++id) {
    if (logits[static_cast<size_t>(id)] == 0) allowed.push_back(id);
  }
  return allowed;
}

// The mask and the question about one token must agree.
void expect_same(GrammarState& state, const std::vector<int32_t>& allowed, int32_t n, std::string_view text) {
  size_t i = 0;
  for (int32_t id = 0; id < n; ++id) {
    const bool in_mask = i < allowed.size() && allowed[i] == id;
    i += in_mask ? 1 : 0;
    EXPECT_EQ(state.allows(id), in_mask) << id << " behind " << text.substr(0, 1000);
  }
}

// Leads an answer to its end: one of the tokens that may close something, or the next byte of a parameter's closing
// mark.
class Closer {
 public:
  // -1 where nothing can be closed.
  int32_t pick(const TokenTrie& tokens, const std::vector<int32_t>& allowed, std::string_view text, Random& random) {
    const size_t opened = text.rfind("<parameter="), closed = text.rfind("</parameter>");
    if (mark_.empty() && opened != text.npos && (closed == text.npos || closed < opened)) mark_ = "\n</parameter>\n";
    if (!mark_.empty()) {
      const std::string byte = mark_.substr(0, 1);
      mark_.erase(0, 1);
      for (const int32_t id : allowed) {
        if (tokens.bytes(id) == byte) return id;
      }
      mark_.clear();
    }
    const auto with_bytes = [&](std::string_view bytes) {
      const auto found =
          std::find_if(allowed.begin(), allowed.end(), [&](int32_t id) { return tokens.bytes(id) == bytes; });
      return found == allowed.end() ? -1 : *found;
    };
    if (in_string(text) && with_bytes("\"") < 0) {  // what patterns ask for, often several times
      if (random.below(3) == 0) wanted_ = std::string(1, "0yabF x"[random.below(7)]);
      return with_bytes(wanted_);
    }
    std::vector<int32_t> closers;
    for (const std::string_view closer : {"}", "]", "\"", "\"}", "</tool_call>", "</"}) {
      if (const int32_t id = with_bytes(closer); id >= 0) closers.push_back(id);
    }
    return closers.empty() ? -1 : closers[random.below(closers.size())];
  }
  bool is_busy() const { return !mark_.empty(); }

 private:
  static bool in_string(std::string_view text) {
    bool inside = false;
    for (size_t i = 0; i < text.size(); ++i) {
      if (inside && text[i] == '\\') {
        ++i;
      } else if (text[i] == '"') {
        inside = !inside;
      }
    }
    return inside;
  }

  std::string mark_;  // what is left of it
  std::string wanted_ = "0";
};

}  // namespace

std::shared_ptr<const TokenTrie> byte_tokens(const std::vector<std::string>& more) {
  std::vector<std::string> texts;
  for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
  texts.insert(texts.end(), more.begin(), more.end());
  std::vector<uint8_t> added(texts.size(), 0);
  for (const char* mark : {"<tool_call>", "</tool_call>", "<think>", "</think>", "<|im_end|>"}) {
    texts.emplace_back(mark);
    added.push_back(1);
  }
  return trie(texts, added, {static_cast<int32_t>(texts.size()) - 1});
}

std::shared_ptr<const TokenTrie> tokens_of(const Tokenizer& tokenizer) {
  std::vector<std::string> texts;
  std::vector<uint8_t> added(static_cast<size_t>(tokenizer.size()), 0);
  std::vector<int32_t> ends;
  for (int32_t id = 0; id < tokenizer.size(); ++id) {
    texts.emplace_back(tokenizer.bytes(id));
    if (tokenizer.ends_turn(id)) ends.push_back(id);
  }
  for (const std::string& text : tokenizer.added_tokens()) {
    if (const auto id = tokenizer.id_of(text)) added[static_cast<size_t>(*id)] = 1;
  }
  return trie(texts, added, ends);
}

std::shared_ptr<const TokenTrie> many_tokens(int32_t n) {
  Random random(5);
  std::vector<std::string> texts;
  for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
  for (int spaces = 2; spaces <= 128; ++spaces) texts.emplace_back(static_cast<size_t>(spaces), ' ');
  static const std::vector<std::string> kMarks = {"\"", "{", "}",  "[", "]", ",", ":",
                                                  "\n", " ", "\\", "'", "(", ")", ";"};
  while (static_cast<int32_t>(texts.size()) < n - 1) {
    std::string text;
    const uint64_t kind = random.below(20);
    if (kind == 0) {  // punctuation, perhaps before a word
      for (uint64_t i = 0, marks = 1 + random.below(4); i < marks; ++i) text += kMarks[random.below(kMarks.size())];
    }
    if (kind == 1 || kind == 2) {  // characters of two and three bytes
      for (uint64_t i = 0, characters = 1 + random.below(4); i < characters; ++i) {
        if (kind == 1) text += static_cast<char>(0xD0 + random.below(2));
        if (kind == 2) text += {static_cast<char>(0xE4 + random.below(5)), static_cast<char>(0x80 + random.below(64))};
        text += static_cast<char>(0x80 + random.below(64));
      }
    } else if (kind != 0 || random.below(2) == 0) {
      if (random.below(2) == 0) text += ' ';
      for (uint64_t i = 0, letters = 1 + random.below(9); i < letters; ++i) {
        text += static_cast<char>('a' + std::min(random.below(26), random.below(26)));
      }
    }
    texts.push_back(text);
  }
  texts.emplace_back("<|im_end|>");
  std::vector<uint8_t> added(texts.size(), 0);
  added.back() = 1;
  return trie(texts, added, {n - 1});
}

std::unique_ptr<Tokenizer> spark_tokenizer() {
  return Tokenizer::load(*Checkpoint::open(FLASHMOE_SOURCE_DIR "/models/spark/spark.gguf"));
}

std::string random_answer(const std::shared_ptr<const Grammar>& grammar, Random& random, int patience) {
  const TokenTrie& tokens = grammar->tokens();
  GrammarState state(grammar);
  Closer closer;
  std::string text;
  for (int n = 0; n < patience + 2000; ++n) {
    const auto allowed = allowed_tokens(state, tokens.size());
    if (allowed.empty()) {
      ADD_FAILURE() << "nothing may follow " << text;
      return text;
    }
    if (n % 37 == 5) expect_same(state, allowed, tokens.size(), text);
    int32_t id = allowed[random.below(allowed.size())];
    if (n >= patience || closer.is_busy() || random.below(4) == 0) {
      if (const int32_t picked = closer.pick(tokens, allowed, text, random); picked >= 0) id = picked;
      if (state.may_end() && n >= patience) id = tokens.ends()[0];
    }
    EXPECT_TRUE(state.allows(id)) << id << " behind " << text;
    state.accept(id);
    if (state.finished()) return text;
    text += tokens.bytes(id);
  }
  ADD_FAILURE() << "does not end: " << text.substr(0, 1000);
  return text;
}

bool accepts(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  const TokenTrie& tokens = grammar->tokens();
  GrammarState state(grammar);
  while (!text.empty()) {
    int32_t id = static_cast<uint8_t>(text[0]);
    size_t length = 1;
    for (const std::string_view mark : {"<tool_call>", "</tool_call>", "<think>", "</think>"}) {
      if (!text.starts_with(mark)) continue;
      if (const auto added = tokens.added_token(mark); added && state.allows(*added)) {
        id = *added;
        length = mark.size();
      }
    }
    if (!state.allows(id)) return false;
    state.accept(id);
    text.remove_prefix(length);
  }
  return state.may_end();
}

}  // namespace flashmoe
