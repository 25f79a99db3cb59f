#include "checkpoint/lookalikes.h"

#include <algorithm>

#include "base/error.h"

namespace flashmoe {
namespace {

std::string lower_trimmed(std::string_view text) {
  const size_t first = std::min(text.find_first_not_of("\xef\xbb\xbf \t\r\n"), text.size());
  std::string lower(text.substr(first));
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return lower;
}

}  // namespace

std::string read_head(const File& file) {
  std::string head(static_cast<size_t>(std::min<uint64_t>(64, file.size())), '\0');
  file.read(0, std::as_writable_bytes(std::span(head)));
  return head;
}

void refuse_lookalikes(const File& file, std::string_view head) {
  const std::string& path = file.path();
  if (head.empty()) fail(Fault::input, "{}: the file is empty; fetch it again", path);
  if (head.starts_with("version https://git-lfs")) {
    fail(Fault::input, "{}: a git-lfs pointer, not the weights; run 'git lfs pull' where it was cloned", path);
  }
  const std::string text = lower_trimmed(head);
  if (text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml")) {
    fail(Fault::input, "{}: a web page, not the weights; the download needs another address or a login", path);
  }
  // The three magics of the formats before GGUF, as they stand in the file.
  if (head.starts_with("lmgg") || head.starts_with("fmgg") || head.starts_with("tjgg")) {
    fail(Fault::unsupported, "{}: a GGML file from before GGUF; fetch the model as GGUF", path);
  }
  if (head.starts_with("PK\x03\x04")) {
    fail(Fault::unsupported, "{}: a zip archive, as PyTorch writes them; fetch the model as safetensors or GGUF", path);
  }
}

}  // namespace flashmoe
