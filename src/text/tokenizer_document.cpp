#include "text/tokenizer_document.h"

#include "base/error.h"

namespace flashmoe {
namespace {

using nlohmann::json;

constexpr size_t kDeepest = 64;

class DocumentSink final : public nlohmann::json_sax<json> {
 public:
  DocumentSink(TokenizerDocument& document, const std::string& source) : document_(document), source_(source) {}

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(int64_t value) override { return in_vocab_ ? put_id(value) : put(value); }
  bool number_unsigned(uint64_t value) override {
    if (!in_vocab_) return put(value);
    return put_id(static_cast<int64_t>(std::min<uint64_t>(value, INT64_MAX)));
  }
  bool number_float(double value, const std::string&) override { return put(value); }
  bool string(std::string& value) override { return in_merges_ ? put_merge(value) : put(value); }
  bool binary(json::binary_t&) override { return false; }

  bool start_object(size_t) override {
    if (is_member_of_model("vocab")) {
      document_.has_vocab = in_vocab_ = true;
      return true;
    }
    if (stack_.size() == 1) in_model_ = key_ == "model";
    return open(json::object());
  }
  bool key(std::string& value) override {
    key_ = value;
    return true;
  }
  bool end_object() override {
    if (in_vocab_) {
      in_vocab_ = false;
      return true;
    }
    return close();
  }

  bool start_array(size_t) override {
    if (in_merges_ && !in_pair_ && document_.merges.size() % 2 == 0) return in_pair_ = true;
    if (is_member_of_model("merges")) {
      return document_.has_merges = in_merges_ = true;
    }
    return open(json::array());
  }
  bool end_array() override {
    if (in_pair_) {
      if (pair_size_ != 2) bad_merge();
      pair_size_ = 0;
      in_pair_ = false;
      return true;
    }
    if (in_merges_) {
      in_merges_ = false;
      return true;
    }
    return close();
  }

  bool parse_error(size_t at, const std::string&, const nlohmann::detail::exception& error) override {
    fail(Fault::input, "{} is not JSON at byte {}: {}", source_, at, error.what());
  }

 private:
  [[noreturn]] void bad_merge() const {
    fail(Fault::input, "{}: merge {} is neither \"a b\" nor [\"a\", \"b\"]", source_, document_.merges.size() / 2);
  }

  bool is_member_of_model(std::string_view name) const {
    return stack_.size() == 2 && in_model_ && !in_vocab_ && !in_merges_ && stack_.back()->is_object() && key_ == name;
  }

  json* add(json value) {
    if (in_merges_) bad_merge();
    if (in_vocab_) fail(Fault::input, "{} gives \"{}\" an id that is not a whole number", source_, key_);
    if (stack_.empty()) {
      document_.rest = std::move(value);
      return &document_.rest;
    }
    json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }
  bool put(json value) {
    add(std::move(value));
    return true;
  }
  bool open(json value) {
    if (stack_.size() == kDeepest) fail(Fault::input, "{} is nested more than {} deep", source_, kDeepest);
    stack_.push_back(add(std::move(value)));
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }
  bool put_id(int64_t id) {
    document_.vocab.push_back({key_, id});
    return true;
  }
  bool put_merge(const std::string& text) {
    if (in_pair_) {
      if (++pair_size_ > 2) bad_merge();
      document_.merges.push_back(text);
      return true;
    }
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) bad_merge();
    document_.merges.push_back(text.substr(0, space));
    document_.merges.push_back(text.substr(space + 1));
    return true;
  }

  TokenizerDocument& document_;
  const std::string& source_;
  std::vector<json*> stack_;  // the objects and lists that are open; stable, for only the last of each grows
  std::string key_;
  bool in_model_ = false, in_vocab_ = false, in_merges_ = false, in_pair_ = false;
  int pair_size_ = 0;
};

}  // namespace

TokenizerDocument TokenizerDocument::parse(std::string_view text, const std::string& source) {
  TokenizerDocument document;
  DocumentSink sink(document, source);
  json::sax_parse(text, &sink);
  return document;
}

}  // namespace flashmoe
