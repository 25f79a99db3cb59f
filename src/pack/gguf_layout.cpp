#include "pack/gguf_layout.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"

namespace flashmoe {
namespace {

constexpr uint64_t kAlignment = 32;
enum class Kind : uint32_t {
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12
};

class Bytes {
 public:
  template <typename T>
  void number(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void kind(Kind kind) { number(static_cast<uint32_t>(kind)); }
  void string(std::string_view text) {
    number<uint64_t>(text.size());
    text_ += text;
  }
  void pad(uint64_t multiple) { text_.resize(round_up(text_.size(), multiple)); }
  std::string& text() { return text_; }

 private:
  std::string text_;
};

bool is_f32(double value) { return static_cast<double>(static_cast<float>(value)) == value || value != value; }
bool is_i32(int64_t value) { return value >= INT32_MIN && value <= INT32_MAX; }

struct ValueWriter {
  Bytes& out;

  void operator()(uint64_t value) const {
    if (value > UINT32_MAX) return typed(Kind::u64, value);
    typed(Kind::u32, static_cast<uint32_t>(value));
  }
  void operator()(int64_t value) const {
    if (!is_i32(value)) return typed(Kind::i64, value);
    typed(Kind::i32, static_cast<int32_t>(value));
  }
  void operator()(double value) const {
    if (!is_f32(value)) return typed(Kind::f64, value);
    typed(Kind::f32, static_cast<float>(value));
  }
  void operator()(bool value) const { typed(Kind::boolean, static_cast<uint8_t>(value)); }
  void operator()(const std::string& value) const {
    out.kind(Kind::string);
    out.string(value);
  }
  void operator()(const std::vector<int64_t>& values) const {
    const bool narrow = std::all_of(values.begin(), values.end(), is_i32);
    begin(narrow ? Kind::i32 : Kind::i64, values.size());
    for (const int64_t value : values) narrow ? out.number(static_cast<int32_t>(value)) : out.number(value);
  }
  void operator()(const std::vector<double>& values) const {
    const bool narrow = std::all_of(values.begin(), values.end(), is_f32);
    begin(narrow ? Kind::f32 : Kind::f64, values.size());
    for (const double value : values) narrow ? out.number(static_cast<float>(value)) : out.number(value);
  }
  void operator()(const std::vector<std::string>& values) const {
    begin(Kind::string, values.size());
    for (const std::string& value : values) out.string(value);
  }

 private:
  template <typename T>
  void typed(Kind kind, T value) const {
    out.kind(kind);
    out.number(value);
  }
  void begin(Kind kind, size_t n) const {
    out.kind(Kind::array);
    out.kind(kind);
    out.number<uint64_t>(n);
  }
};

}  // namespace

std::string lay_out_gguf(const Metadata& metadata, std::vector<GgufEntry>& entries) {
  Bytes out;
  out.text() = "GGUF";
  out.number<uint32_t>(3);
  out.number<uint64_t>(entries.size());
  out.number<uint64_t>(metadata.size());
  for (const auto& [key, value] : metadata) {
    out.string(key);
    std::visit(ValueWriter{out}, value);
  }
  uint64_t data = 0;
  for (GgufEntry& entry : entries) {
    out.string(entry.name);
    out.number(static_cast<uint32_t>(entry.shape.size()));
    for (size_t i = entry.shape.size(); i-- > 0;) out.number(static_cast<uint64_t>(entry.shape[i]));
    out.number(entry.type);
    out.number(data);
    entry.offset = data;
    data = round_up(data + entry.bytes, kAlignment);
  }
  out.pad(kAlignment);
  for (GgufEntry& entry : entries) entry.offset += out.text().size();
  return std::move(out.text());
}

}  // namespace flashmoe
