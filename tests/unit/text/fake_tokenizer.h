// A tokenizer whose ids are bytes, but for its added tokens: enough to see which text became a control token.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "base/check.h"
#include "text/tokenizer.h"

namespace flashmoe {

class FakeTokenizer final : public Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> added) : added_(std::move(added)) {}

  std::vector<int32_t> encode(std::string_view text, Marks marks) const override {
    std::vector<int32_t> ids;
    while (!text.empty()) {
      size_t longest = 0, which = 0;
      for (size_t i = 0; marks == Marks::parse && i < added_.size(); ++i) {
        if (added_[i].size() > longest && text.starts_with(added_[i])) longest = added_[which = i].size();
      }
      ids.push_back(longest != 0 ? 256 + static_cast<int32_t>(which) : static_cast<unsigned char>(text[0]));
      text.remove_prefix(std::max<size_t>(longest, 1));
    }
    return ids;
  }
  // The text of `ids`, added tokens in brackets that no test text contains.
  std::string show(const std::vector<int32_t>& ids) const {
    std::string out;
    for (const int32_t id : ids)
      out += id < 256 ? std::string(1, static_cast<char>(id)) : "⟦" + std::string(bytes(id)) + "⟧";
    return out;
  }

  std::string_view bytes(int32_t id) const override {
    CHECK(id >= 256 && id < size());
    return added_[static_cast<size_t>(id - 256)];
  }
  bool is_special(int32_t id) const override { return id >= 256; }
  bool ends_turn(int32_t) const override { return false; }
  std::optional<int32_t> id_of(std::string_view token) const override {
    const auto at = std::find(added_.begin(), added_.end(), token);
    if (at == added_.end()) return {};
    return 256 + static_cast<int32_t>(at - added_.begin());
  }
  int32_t size() const override { return 256 + static_cast<int32_t>(added_.size()); }
  const std::vector<std::string>& added_tokens() const override { return added_; }

 private:
  std::vector<std::string> added_;
};

}  // namespace flashmoe
