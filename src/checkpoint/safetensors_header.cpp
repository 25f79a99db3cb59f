#include <array>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/error.h"
#include "checkpoint/contents.h"
#include "checkpoint/header_reader.h"
#include "checkpoint/lookalikes.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/shown_name.h"

namespace flashmoe {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr uint64_t kMaxIndexBytes = 64 * kMiB;     // one line per tensor: 180,000 of them take 22 MB
constexpr size_t kMaxDims = 8;
constexpr int kMaxIndexDepth = 16;

// Types this build does not run but whose size is known.
struct KnownSize {
  std::string_view dtype;
  uint64_t bytes;
};
constexpr auto kKnownSizes = std::to_array<KnownSize>({
    {"BOOL", 1},
    {"I8", 1},
    {"U8", 1},
    {"F8_E4M3", 1},
    {"F8_E5M2", 1},
    {"F8_E8M0", 1},
    {"I16", 2},
    {"U16", 2},
    {"I32", 4},
    {"U32", 4},
    {"I64", 8},
    {"U64", 8},
    {"F64", 8},
    {"C64", 8},
});

std::optional<Packing> packing_of(const ListedTensor& tensor) {
  if (tensor.format) {
    const FormatInfo& info = format_info(*tensor.format);
    return Packing{static_cast<uint64_t>(info.block_values), static_cast<uint64_t>(info.block_bytes)};
  }
  for (const KnownSize& known : kKnownSizes) {
    if (known.dtype == tensor.format_name) return Packing{1, known.bytes};
  }
  return std::nullopt;
}

// The events of a JSON parse, with everything refused that a reader does not expect. No document is built.
class StrictEvents : public nlohmann::json_sax<json> {
 public:
  explicit StrictEvents(const File& file) : file_(file) {}

  bool null() override { refuse("a null"); }
  bool boolean(bool) override { refuse("a boolean"); }
  bool number_integer(int64_t) override { refuse("a negative number"); }
  bool number_unsigned(uint64_t) override { refuse("a number"); }
  bool number_float(double, const std::string&) override { refuse("a number that is not whole or too large"); }
  bool string(std::string&) override { refuse("a string"); }
  bool binary(json::binary_t&) override { refuse("binary"); }
  bool start_array(size_t) override { refuse("an array"); }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail(Fault::input, "{}: not valid JSON at byte {}: truncated or damaged; fetch it again", file_.path(), position);
  }

 protected:
  [[noreturn]] void refuse(std::string_view found) const {
    fail(Fault::input, "{}: {} is out of place {}: the header is damaged", file_.path(), found, where());
  }
  virtual std::string where() const = 0;

  const File& file_;
};

// {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {"key": "text"}}
class HeaderEvents final : public StrictEvents {
 public:
  struct Entry {
    std::string name, dtype;
    std::vector<int64_t> shape;
    std::vector<uint64_t> offsets;
    unsigned fields = 0;  // bits of Field that were seen
  };

  using StrictEvents::StrictEvents;

  std::vector<Entry> entries;

  bool start_object(size_t) override {
    if (depth_ == 2 || in_array_) refuse("an object");
    if (depth_ == 1) field_ = kNone;
    ++depth_;
    return true;
  }

  bool end_object() override {
    --depth_;
    if (depth_ == 1 && !in_metadata_ && entries.back().fields != (kDtype | kShape | kOffsets)) {
      fail(Fault::input, "{}: tensor {} lacks its dtype, shape or data_offsets: the header is damaged", file_.path(),
           in_quotes(entries.back().name));
    }
    return true;
  }

  bool key(std::string& name) override {
    if (depth_ == 1) {
      in_metadata_ = name == "__metadata__";
      if (!in_metadata_) {
        entries.emplace_back();
        entries.back().name = name;
      } else if (std::exchange(seen_metadata_, true)) {
        refuse("a second '__metadata__'");
      }
      return true;
    }
    if (in_metadata_) return true;
    field_ = name == "dtype" ? kDtype : name == "shape" ? kShape : name == "data_offsets" ? kOffsets : kNone;
    if (field_ == kNone) refuse("the field " + in_quotes(name));
    if ((entries.back().fields & field_) != 0) refuse("a second field " + in_quotes(name));
    entries.back().fields |= field_;
    return true;
  }

  bool string(std::string& text) override {
    if (depth_ != 2 || in_array_) refuse("a string");
    if (in_metadata_) return true;
    if (field_ != kDtype) refuse("a string");
    entries.back().dtype = text;
    return true;
  }

  bool start_array(size_t) override {
    if (depth_ != 2 || in_array_ || in_metadata_ || field_ == kDtype) refuse("an array");
    in_array_ = true;
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    if (field_ == kOffsets && entries.back().offsets.size() != 2) refuse("an array of other than two numbers");
    return true;
  }

  bool number_unsigned(uint64_t value) override {
    if (!in_array_) refuse("a number");
    if (value > static_cast<uint64_t>(INT64_MAX)) refuse("a number beyond 63 bits");
    Entry& entry = entries.back();
    if (field_ == kShape) {
      if (entry.shape.size() == kMaxDims) refuse("a ninth dimension");
      entry.shape.push_back(static_cast<int64_t>(value));
    } else {
      if (entry.offsets.size() == 2) refuse("a third offset");
      entry.offsets.push_back(value);
    }
    return true;
  }

 private:
  enum Field : unsigned { kNone = 0, kDtype = 1, kShape = 2, kOffsets = 4 };

  std::string where() const override {
    if (depth_ == 0) return "at the start of the header";
    if (in_metadata_) return "in '__metadata__'";
    return entries.empty() ? "in the header" : "at tensor " + in_quotes(entries.back().name);
  }

  int depth_ = 0;
  bool in_array_ = false;
  bool in_metadata_ = false;
  bool seen_metadata_ = false;
  Field field_ = kNone;
};

// {"metadata": {...}, "weight_map": {"TENSOR": "SHARD", ...}}
class IndexEvents final : public StrictEvents {
 public:
  using StrictEvents::StrictEvents;

  std::vector<ShardedName> names;
  bool has_map = false;

  bool null() override { return ignore("a null"); }
  bool boolean(bool) override { return ignore("a boolean"); }
  bool number_integer(int64_t) override { return ignore("a number"); }
  bool number_unsigned(uint64_t) override { return ignore("a number"); }
  bool number_float(double, const std::string&) override { return ignore("a number"); }
  bool start_object(size_t) override { return deeper(); }
  bool start_array(size_t) override {
    if (in_map_) refuse("an array");
    return deeper();
  }
  bool end_object() override { return --depth_, true; }
  bool end_array() override { return --depth_, true; }
  bool key(std::string& name) override {
    if (depth_ == 1) {
      in_map_ = name == "weight_map";
      if (in_map_ && std::exchange(has_map, true)) refuse("a second 'weight_map'");
    } else if (in_map_) {
      tensor_ = name;
    }
    return true;
  }
  bool string(std::string& text) override {
    if (!in_map_ || depth_ != 2) return ignore("a string");
    names.push_back({tensor_, text});
    return true;
  }

 private:
  bool ignore(std::string_view what) {
    if (in_map_ || depth_ == 0) refuse(what);
    return true;
  }
  bool deeper() {
    if (++depth_ > (in_map_ ? 2 : kMaxIndexDepth)) refuse("a nested value");
    return true;
  }
  std::string where() const override { return in_map_ ? "in 'weight_map'" : "in the index"; }

  int depth_ = 0;
  bool in_map_ = false;
  std::string tensor_;
};

ListedTensor listed(const File& file, HeaderEvents::Entry& entry, uint64_t data_begin) {
  ListedTensor tensor;
  tensor.name = std::move(entry.name);
  tensor.format = format_from_safetensors(entry.dtype);
  tensor.format_name = printable(entry.dtype);
  tensor.shape = std::move(entry.shape);
  const uint64_t begin = entry.offsets[0], end = entry.offsets[1];
  if (begin > end) {
    fail(Fault::input, "{}: tensor {} ends at {}, before it begins at {}: the header is damaged", file.path(),
         in_quotes(tensor.name), end, begin);
  }
  const std::optional<Packing> packing = packing_of(tensor);
  const uint64_t wanted = packed_bytes(file, tensor, packing.value_or(Packing{}));
  if (packing && wanted != end - begin) {
    fail(Fault::input, "{}: tensor {} [{}] of {} takes {} bytes, the header gives it {}: the header is damaged",
         file.path(), in_quotes(tensor.name), fmt::join(tensor.shape, ", "), tensor.format_name, wanted, end - begin);
  }
  tensor.offset = data_begin + begin;
  tensor.bytes = end - begin;
  return tensor;
}

}  // namespace

std::vector<ListedTensor> read_safetensors_header(const File& file) {
  HeaderReader reader(file);
  const auto n_bytes = reader.number<uint64_t>("the header's length");
  if (n_bytes > kMaxHeaderBytes) {
    fail(Fault::input,
         "{}: its header would be {} bytes long, at most {} are allowed: not a safetensors file, or damaged",
         file.path(), n_bytes, kMaxHeaderBytes);
  }
  reader.expect_room(n_bytes, 1, "the header");
  std::string text(static_cast<size_t>(n_bytes), '\0');
  file.read(reader.position(), std::as_writable_bytes(std::span(text)));
  HeaderEvents events(file);
  json::sax_parse(text, &events);
  std::vector<ListedTensor> tensors;
  tensors.reserve(events.entries.size());
  const uint64_t data_begin = reader.position() + n_bytes;
  for (HeaderEvents::Entry& entry : events.entries) tensors.push_back(listed(file, entry, data_begin));
  return tensors;
}

std::vector<ShardedName> read_safetensors_index(const File& file) {
  const std::string text = read_text(file, kMaxIndexBytes);
  refuse_lookalikes(file, std::string_view(text).substr(0, 64));
  IndexEvents events(file);
  json::sax_parse(text, &events);
  if (!events.has_map || events.names.empty()) {
    fail(Fault::input, "{}: has no 'weight_map' that says which shard each tensor is in", file.path());
  }
  return std::move(events.names);
}

}  // namespace flashmoe
