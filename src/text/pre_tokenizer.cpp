#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pre_tokenizer.h"

#include <pcre2.h>

#include <algorithm>

#include "base/check.h"
#include "base/error.h"
#include "text/unicode.h"

namespace flashmoe {
namespace {

struct Free {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_jit_stack* p) const { pcre2_jit_stack_free(p); }
};

constexpr size_t kJitStackStart_bytes = 32 << 10, kJitStackLimit_bytes = 16 << 20;
constexpr uint32_t kHeapLimit_kib = 256 << 10;

std::string pcre2_message(int code) {
  PCRE2_UCHAR text[256];
  if (pcre2_get_error_message(code, text, sizeof text) < 0) return fmt::format("PCRE2 error {}", code);
  return reinterpret_cast<const char*>(text);
}

// What one thread needs to match one pattern.
class Matcher {
 public:
  Matcher(const pcre2_code* code, size_t text_bytes)
      : code_(code),
        data_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)),
        stack_(pcre2_jit_stack_create(kJitStackStart_bytes, kJitStackLimit_bytes, nullptr)) {
    CHECK(data_ != nullptr && context_ != nullptr);
    if (stack_) pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
    pcre2_set_heap_limit(context_.get(), kHeapLimit_kib);
    // A run of white space is walked back character by character: honest work grows with the text.
    const uint64_t limit = 10'000'000 + 16 * uint64_t{text_bytes};
    pcre2_set_match_limit(context_.get(), static_cast<uint32_t>(std::min<uint64_t>(limit, UINT32_MAX)));
  }

  // The next match at or after `from`; false when there is none.
  bool find(std::string_view text, size_t from, size_t* start, size_t* end) {
    int result = match(text, from, PCRE2_NO_UTF_CHECK);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(text, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) return false;
    if (result < 0) {
      fail(Fault::input, "the tokenizer's pattern gave up at byte {} of {}: {}; split the text", from, text.size(),
           pcre2_message(result));
    }
    const size_t* offsets = pcre2_get_ovector_pointer(data_.get());
    *start = offsets[0];
    *end = std::max(offsets[0], offsets[1]);
    return true;
  }

 private:
  int match(std::string_view text, size_t from, uint32_t options) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, options, data_.get(),
                       context_.get());
  }

  const pcre2_code* code_;
  std::unique_ptr<pcre2_match_data, Free> data_;
  std::unique_ptr<pcre2_match_context, Free> context_;
  std::unique_ptr<pcre2_jit_stack, Free> stack_;
};

void split_by(const pcre2_code* code, std::string_view text, std::vector<std::string_view>& pieces) {
  Matcher matcher(code, text.size());
  const auto put = [&](size_t from, size_t to) {
    if (from < to) pieces.push_back(text.substr(from, to - from));
  };
  size_t done = 0;
  size_t from = 0;
  size_t start = 0, end = 0;
  while (from < text.size() && matcher.find(text, from, &start, &end)) {
    if (start == end) {  // splits the text without taking any of it
      put(done, start);
      done = start;
      from = start < text.size() ? start + next_utf8(text.substr(start)).n_bytes : text.size();
      continue;
    }
    put(done, start);
    put(start, end);
    done = from = end;
  }
  put(done, text.size());
}

}  // namespace

struct PreTokenizer::Compiled {
  std::unique_ptr<pcre2_code, Free> code;
};

PreTokenizer::PreTokenizer(const std::vector<Split>& splits) {
  for (const Split& split : splits) {
    const std::string pattern = split.literal ? split.pattern : pcre2_pattern(split.pattern);
    // In Ruby syntax ^ and $ hold at every line and a dot stops at a line feed.
    const uint32_t options =
        split.literal ? PCRE2_UTF | PCRE2_LITERAL : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    int error = 0;
    size_t offset = 0;
    auto compiled = std::make_unique<Compiled>();
    compiled->code.reset(
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &offset, nullptr));
    if (!compiled->code) {
      fail(Fault::unsupported, "tokenizer pattern \"{}\": {}", split.pattern, pcre2_message(error));
    }
    // Where no machine code can be made, matching is slower but the same.
    pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE);
    compiled_.push_back(std::move(compiled));
  }
}

PreTokenizer::~PreTokenizer() = default;

void PreTokenizer::split(std::string_view text, std::vector<std::string_view>& pieces) const {
  if (compiled_.size() == 1) return split_by(compiled_.front()->code.get(), text, pieces);
  std::vector<std::string_view> parts = {text};
  for (const auto& compiled : compiled_) {
    std::vector<std::string_view> next;
    for (const std::string_view part : parts) split_by(compiled->code.get(), part, next);
    parts = std::move(next);
  }
  pieces.insert(pieces.end(), parts.begin(), parts.end());
}

}  // namespace flashmoe
