#include <array>
#include <bit>
#include <limits>

#include "base/bytes.h"
#include "base/error.h"
#include "checkpoint/contents.h"
#include "checkpoint/gguf.h"
#include "checkpoint/header_reader.h"
#include "checkpoint/shown_name.h"

namespace flashmoe {
namespace {

constexpr uint64_t kMaxKeyBytes = 65535;  // the specification's own limit
constexpr uint64_t kMaxNameBytes = 1024;
constexpr uint64_t kMaxStringBytes = 64 * kMiB;
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxAlignment = kMiB;
constexpr uint64_t kMinEntryBytes = 8 + 4 + 1;           // of metadata: an empty key, a type, one byte
constexpr uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;  // an empty name, one dimension, type, offset
constexpr uint64_t kMapNodeBytes = 160;                  // what one entry of a map costs, about

// Ids of metadata values.
enum class Kind : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

// Types this build does not run but whose size is known: id, values per block, bytes per block.
struct KnownSize {
  uint32_t type;
  Packing packing;
};
constexpr auto kKnownSizes = std::to_array<KnownSize>({
    {15, {256, 292}},  // Q8_K
    {24, {1, 1}},      // I8
    {25, {1, 2}},      // I16
    {26, {1, 4}},      // I32
    {27, {1, 8}},      // I64
    {28, {1, 8}},      // F64
    {34, {256, 54}},   // TQ1_0
    {35, {256, 66}},   // TQ2_0
    {40, {64, 36}},    // NVFP4
});

std::optional<Packing> packing_of(uint32_t type) {
  if (const std::optional<Format> format = format_from_gguf(type)) {
    const FormatInfo& info = format_info(*format);
    return Packing{static_cast<uint64_t>(info.block_values), static_cast<uint64_t>(info.block_bytes)};
  }
  for (const KnownSize& known : kKnownSizes) {
    if (known.type == type) return known.packing;
  }
  return std::nullopt;
}

class GgufParser {
 public:
  explicit GgufParser(const File& file) : file_(file), reader_(file) {}

  GgufHeader parse() {
    read_version();
    const auto n_tensors = reader_.number<uint64_t>("the tensor count");
    const auto n_entries = reader_.number<uint64_t>("the metadata count");
    reader_.expect_room(n_entries, kMinEntryBytes, "the metadata");
    for (uint64_t i = 0; i < n_entries; ++i) read_entry();
    const uint64_t alignment = read_alignment();
    reader_.expect_room(n_tensors, kMinTensorBytes, "the list of tensors");
    for (uint64_t i = 0; i < n_tensors; ++i) read_tensor(alignment);
    const uint64_t data_begin = round_up(reader_.position(), alignment);
    for (ListedTensor& tensor : header_.tensors) {
      // A sum that overflows stays huge and is refused with the tensor's name when its bounds are checked.
      tensor.offset = checked_add(tensor.offset, data_begin).value_or(std::numeric_limits<uint64_t>::max());
    }
    return std::move(header_);
  }

 private:
  void read_version() {
    if (reader_.number<uint32_t>("the magic") != std::bit_cast<uint32_t>(std::array{'G', 'G', 'U', 'F'})) {
      fail(Fault::input, "{}: does not begin with 'GGUF': not a GGUF file", file_.path());
    }
    const auto version = reader_.number<uint32_t>("the version");
    if (version == 2 || version == 3) {
      header_.version = version;
    } else if (version != 0 && (version & 0xffff) == 0) {
      fail(Fault::unsupported, "{}: a big-endian GGUF file; fetch or convert a little-endian one", file_.path());
    } else {
      fail(Fault::unsupported, "{}: GGUF version {}; versions 2 and 3 are read, convert the file anew", file_.path(),
           version);
    }
  }

  void read_entry() {
    std::string key = reader_.string("a metadata key", kMaxKeyBytes);
    reader_.spend(kMapNodeBytes, "the metadata");
    const auto kind = static_cast<Kind>(reader_.number<uint32_t>("a metadata type"));
    const auto [place, is_new] = header_.metadata.try_emplace(std::move(key));
    if (!is_new) fail(Fault::input, "{}: metadata key {} is there twice", file_.path(), in_quotes(place->first));
    place->second = kind == Kind::array ? read_array(place->first) : read_value(kind, place->first);
  }

  MetaValue read_value(Kind kind, const std::string& key) {
    constexpr std::string_view kWhat = "a metadata value";
    switch (kind) {
      case Kind::u8:
        return uint64_t{reader_.number<uint8_t>(kWhat)};
      case Kind::u16:
        return uint64_t{reader_.number<uint16_t>(kWhat)};
      case Kind::u32:
        return uint64_t{reader_.number<uint32_t>(kWhat)};
      case Kind::u64:
        return uint64_t{reader_.number<uint64_t>(kWhat)};
      case Kind::i8:
        return int64_t{reader_.number<int8_t>(kWhat)};
      case Kind::i16:
        return int64_t{reader_.number<int16_t>(kWhat)};
      case Kind::i32:
        return int64_t{reader_.number<int32_t>(kWhat)};
      case Kind::i64:
        return int64_t{reader_.number<int64_t>(kWhat)};
      case Kind::f32:
        return double{reader_.number<float>(kWhat)};
      case Kind::f64:
        return reader_.number<double>(kWhat);
      case Kind::boolean:
        return reader_.number<uint8_t>(kWhat) != 0;
      case Kind::string:
        return reader_.string(kWhat, kMaxStringBytes);
      case Kind::array:
        break;
    }
    refuse_kind(kind, key);
  }

  [[noreturn]] void refuse_kind(Kind kind, const std::string& key) const {
    fail(Fault::input, "{}: metadata key {} is of type {}, which GGUF does not have: the header is damaged",
         file_.path(), in_quotes(key), static_cast<uint32_t>(kind));
  }

  template <typename Stored, typename Value>
  std::vector<Value> read_numbers(uint64_t n, const std::string& key) {
    reader_.expect_room(n, sizeof(Stored), "a metadata array");
    reader_.spend(n * sizeof(Value), "a metadata array");
    std::vector<Value> values(static_cast<size_t>(n));
    for (Value& value : values) {
      const auto stored = reader_.number<Stored>("a metadata array");
      if constexpr (std::is_same_v<Stored, uint64_t>) {
        if (stored > static_cast<uint64_t>(INT64_MAX)) {
          fail(Fault::input, "{}: metadata key {} holds {}, beyond 63 bits", file_.path(), in_quotes(key), stored);
        }
      }
      value = static_cast<Value>(stored);
    }
    return values;
  }

  MetaValue read_array(const std::string& key) {
    const auto kind = static_cast<Kind>(reader_.number<uint32_t>("the type of a metadata array"));
    const auto n = reader_.number<uint64_t>("the length of a metadata array");
    switch (kind) {
      case Kind::u8:
      case Kind::boolean:
        return read_numbers<uint8_t, int64_t>(n, key);
      case Kind::i8:
        return read_numbers<int8_t, int64_t>(n, key);
      case Kind::u16:
        return read_numbers<uint16_t, int64_t>(n, key);
      case Kind::i16:
        return read_numbers<int16_t, int64_t>(n, key);
      case Kind::u32:
        return read_numbers<uint32_t, int64_t>(n, key);
      case Kind::i32:
        return read_numbers<int32_t, int64_t>(n, key);
      case Kind::u64:
        return read_numbers<uint64_t, int64_t>(n, key);
      case Kind::i64:
        return read_numbers<int64_t, int64_t>(n, key);
      case Kind::f32:
        return read_numbers<float, double>(n, key);
      case Kind::f64:
        return read_numbers<double, double>(n, key);
      case Kind::string:
        return read_strings(n);
      case Kind::array:
        fail(Fault::unsupported, "{}: metadata key {} is an array of arrays, which is not read", file_.path(),
             in_quotes(key));
    }
    refuse_kind(kind, key);
  }

  std::vector<std::string> read_strings(uint64_t n) {
    reader_.expect_room(n, sizeof(uint64_t), "a metadata array");
    std::vector<std::string> strings;
    reader_.spend(n * sizeof(std::string), "a metadata array");
    strings.reserve(static_cast<size_t>(n));
    for (uint64_t i = 0; i < n; ++i) strings.push_back(reader_.string("a metadata array", kMaxStringBytes));
    return strings;
  }

  uint64_t read_alignment() const {
    constexpr uint64_t kDefaultAlignment = 32;
    const auto entry = header_.metadata.find("general.alignment");
    if (entry == header_.metadata.end()) return kDefaultAlignment;
    const uint64_t* alignment = std::get_if<uint64_t>(&entry->second);
    if (alignment == nullptr || !std::has_single_bit(*alignment) || *alignment > kMaxAlignment) {
      fail(Fault::input, "{}: metadata key 'general.alignment' must be a power of two up to {}{}", file_.path(),
           kMaxAlignment, alignment == nullptr ? std::string() : fmt::format(", it is {}", *alignment));
    }
    return *alignment;
  }

  void read_tensor(uint64_t alignment) {
    ListedTensor tensor;
    tensor.name = reader_.string("a tensor's name", kMaxNameBytes);
    reader_.spend(sizeof(ListedTensor) + sizeof(TensorInfo) + kMapNodeBytes, "the list of tensors");
    const auto n_dims = reader_.number<uint32_t>("a tensor's dimensions");
    if (n_dims < 1 || n_dims > kMaxDims) {
      fail(Fault::input, "{}: tensor {} has {} dimensions, 1 to {} were expected", file_.path(), in_quotes(tensor.name),
           n_dims, kMaxDims);
    }
    tensor.shape.resize(n_dims);
    for (uint32_t i = 0; i < n_dims; ++i) {
      const auto dim = reader_.number<uint64_t>("a tensor's dimensions");
      if (dim < 1 || dim > static_cast<uint64_t>(INT64_MAX)) {
        fail(Fault::input, "{}: tensor {} has a dimension of {}: the header is damaged", file_.path(),
             in_quotes(tensor.name), dim);
      }
      tensor.shape[n_dims - 1 - i] = static_cast<int64_t>(dim);
    }
    const auto type = reader_.number<uint32_t>("a tensor's type");
    tensor.offset = reader_.number<uint64_t>("a tensor's offset");
    if (tensor.offset % alignment != 0) {
      fail(Fault::input, "{}: tensor {} has offset {}, not a multiple of the alignment {}", file_.path(),
           in_quotes(tensor.name), tensor.offset, alignment);
    }
    tensor.format = format_from_gguf(type);
    tensor.format_name = tensor.format ? std::string(format_info(*tensor.format).name) : unsupported_name(type);
    if (const std::optional<Packing> packing = packing_of(type)) {
      tensor.bytes = packed_bytes(file_, tensor, *packing);
    } else {
      packed_bytes(file_, tensor, Packing{});
    }
    header_.tensors.push_back(std::move(tensor));
  }

  static std::string unsupported_name(uint32_t type) {
    const std::string_view name = gguf_type_name(type);
    return name.empty() ? fmt::format("type {}", type) : std::string(name);
  }

  const File& file_;
  HeaderReader reader_;
  GgufHeader header_;
};

}  // namespace

GgufHeader read_gguf_header(const File& file) { return GgufParser(file).parse(); }

}  // namespace flashmoe
