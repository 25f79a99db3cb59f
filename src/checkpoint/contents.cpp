#include "checkpoint/contents.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/bytes.h"
#include "base/error.h"

namespace flashmoe {
namespace {

constexpr size_t kMaxShown = 80;
constexpr size_t kPartDigits = 5;

void check_bounds(const File& file, const std::vector<ListedTensor>& listed) {
  uint64_t end = 0;
  const ListedTensor* last = nullptr;
  for (const ListedTensor& tensor : listed) {
    const std::optional<uint64_t> its_end = checked_add(tensor.offset, tensor.bytes.value_or(0));
    if (!its_end) {
      fail(Fault::input, "{}: tensor {} lies at offset {}, beyond any file: the header is damaged", file.path(),
           in_quotes(tensor.name), tensor.offset);
    }
    if (*its_end < end) continue;
    end = *its_end;
    last = &tensor;
  }
  if (end <= file.size()) return;
  fail(Fault::input, "{}: truncated: {} bytes are missing ({} there, tensor {} ends at {}); fetch the file again",
       file.path(), end - file.size(), file.size(), in_quotes(last->name), end);
}

void check_overlap(const File& file, const std::vector<ListedTensor>& listed) {
  std::vector<const ListedTensor*> by_offset;
  by_offset.reserve(listed.size());
  for (const ListedTensor& tensor : listed) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(), [](const ListedTensor* a, const ListedTensor* b) {
    return a->offset != b->offset ? a->offset < b->offset : a->bytes.value_or(0) < b->bytes.value_or(0);
  });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const ListedTensor& before = *by_offset[i - 1];
    const ListedTensor& after = *by_offset[i];
    const bool same_start = before.offset == after.offset;
    if (!same_start && before.offset + before.bytes.value_or(0) <= after.offset) continue;
    fail(Fault::input, "{}: tensors {} and {} overlap at offset {}: the header is damaged", file.path(),
         in_quotes(before.name), in_quotes(after.name), after.offset);
  }
}

}  // namespace

uint64_t packed_bytes(const File& file, const ListedTensor& tensor, Packing packing) {
  uint64_t n_values = 1;
  for (const int64_t dim : tensor.shape) {
    if (dim < 1) {
      fail(Fault::input, "{}: tensor {} has a dimension of {}: at least 1 was expected", file.path(),
           in_quotes(tensor.name), dim);
    }
    const std::optional<uint64_t> product = checked_mul(n_values, static_cast<uint64_t>(dim));
    if (!product || *product > static_cast<uint64_t>(INT64_MAX)) {
      fail(Fault::input, "{}: tensor {} has dimensions [{}], more values than 64 bits count: the header is damaged",
           file.path(), in_quotes(tensor.name), fmt::join(tensor.shape, ", "));
    }
    n_values = *product;
  }
  const uint64_t row = tensor.shape.empty() ? 1 : static_cast<uint64_t>(tensor.shape.back());
  if (row % packing.values != 0) {
    fail(Fault::input, "{}: tensor {} has rows of {} values, {} needs a multiple of {}", file.path(),
         in_quotes(tensor.name), row, tensor.format_name, packing.values);
  }
  const std::optional<uint64_t> bytes = checked_mul(n_values / packing.values, packing.bytes);
  if (!bytes || *bytes > static_cast<uint64_t>(INT64_MAX)) {
    fail(Fault::input, "{}: tensor {} has dimensions [{}], more bytes than 64 bits count: the header is damaged",
         file.path(), in_quotes(tensor.name), fmt::join(tensor.shape, ", "));
  }
  return *bytes;
}

void add_file(CheckpointContents& contents, std::shared_ptr<File> file, std::vector<ListedTensor> listed) {
  check_bounds(*file, listed);
  check_overlap(*file, listed);
  const auto index = static_cast<uint32_t>(contents.files.size());
  for (ListedTensor& tensor : listed) {
    if (!tensor.format) {
      contents.unsupported.push_back({std::move(tensor.name),
                                      std::move(tensor.format_name),
                                      tensor.bytes.value_or(0),
                                      {},
                                      std::move(tensor.shape),
                                      index,
                                      tensor.offset});
      continue;
    }
    const auto [place, is_new] = contents.tensors.try_emplace(tensor.name, TensorInfo{tensor.name,
                                                                                      *tensor.format,
                                                                                      std::move(tensor.shape),
                                                                                      index,
                                                                                      tensor.offset,
                                                                                      *tensor.bytes,
                                                                                      {},
                                                                                      {},
                                                                                      {},
                                                                                      0,
                                                                                      {}});
    if (is_new) continue;
    const uint32_t first = place->second.file;
    fail(Fault::input, "{}: tensor {} is there twice{}{}: one of them must go", file->path(), in_quotes(tensor.name),
         first < index ? ", first in " : "", first < index ? contents.files[first]->path() : std::string());
  }
  contents.files.push_back(std::move(file));
}

std::string printable(std::string_view name) {
  std::string text;
  for (const char c : name) {
    if (text.size() >= kMaxShown) {
      text += "...";
      break;
    }
    if (c < ' ' || c > '~') {
      fmt::format_to(std::back_inserter(text), "\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      text += c;
    }
  }
  return text;
}

std::string in_quotes(std::string_view name) { return "'" + printable(name) + "'"; }

std::string list_some(const std::vector<std::string>& names) {
  constexpr size_t kShown = 4;
  std::string text;
  for (size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    text += i == 0 ? in_quotes(names[i]) : ", " + in_quotes(names[i]);
  }
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

std::vector<std::string> list_folder(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) fail(Fault::io, "{}: cannot list the folder: {}", folder, error.message());
  std::sort(names.begin(), names.end());
  return names;
}

std::string PartName::name_of(uint64_t part_number) const {
  return fmt::format("{}-{:05}-of-{:05}{}", prefix, part_number, count, extension);
}

std::optional<PartName> parse_part_name(std::string_view file_name) {
  constexpr std::string_view kOf = "-of-";
  const size_t of = file_name.rfind(kOf);
  if (of == std::string_view::npos || of < kPartDigits + 1 || file_name[of - kPartDigits - 1] != '-') return {};
  const std::string_view after = file_name.substr(of + kOf.size());
  if (after.size() <= kPartDigits || after[kPartDigits] != '.') return {};
  PartName part;
  const auto number = [](std::string_view digits, uint64_t& value) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  if (!number(file_name.substr(of - kPartDigits, kPartDigits), part.number)) return {};
  if (!number(after.substr(0, kPartDigits), part.count)) return {};
  if (part.number < 1 || part.number > part.count) return {};
  part.prefix = file_name.substr(0, of - kPartDigits - 1);
  part.extension = after.substr(kPartDigits);
  return part;
}

}  // namespace flashmoe
