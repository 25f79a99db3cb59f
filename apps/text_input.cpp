#include "text_input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "flashmoe/error.h"

namespace flashmoe {
namespace {

constexpr std::string_view kSpaces = " \t\r\n\f\v";

struct Opened {
  Opened(const std::string& path, int flags) : descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags)) {
    if (descriptor < 0) throw Error(Fault::io, fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  }
  ~Opened() { ::close(descriptor); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  const int descriptor;
};

std::string read_descriptor(int descriptor, const std::string& path, const ReadLimit& limit) {
  std::string text;
  char piece[65536];
  while (true) {
    const ssize_t n = ::read(descriptor, piece, sizeof(piece));
    if (n == 0) return text;
    if (n > 0) {
      text.append(piece, static_cast<size_t>(n));
      if (text.size() > limit.bytes) {
        throw Error(Fault::input, fmt::format("{}: more than {} MiB, too long for {}", shown_path(path),
                                              limit.bytes >> 20U, limit.what));
      }
    } else if (errno != EINTR) {
      throw Error(Fault::io, fmt::format("cannot read {}: {}", shown_path(path), std::strerror(errno)));
    }
  }
}

}  // namespace

std::string shown_path(const std::string& path) { return path == "-" ? "standard input" : path; }

std::string read_text(const std::string& path) {
  return path == "-" ? read_descriptor(STDIN_FILENO, path, {}) : read_descriptor(Opened(path, 0).descriptor, path, {});
}

std::string read_regular_text(const std::string& path, const ReadLimit& limit) {
  const Opened file(path, O_NONBLOCK);  // a pipe would be opened only when somebody writes to it
  struct stat status = {};
  if (::fstat(file.descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    throw Error(Fault::input, path + ": not a regular file");
  }
  return read_descriptor(file.descriptor, path, limit);
}

std::optional<int32_t> parse_id(std::string_view word) {
  int32_t id = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
  if (error != std::errc() || end != word.data() + word.size() || id < 0) return std::nullopt;
  return id;
}

std::vector<int32_t> parse_ids(std::string_view text, const std::string& name) {
  std::vector<int32_t> ids;
  int line = 1;
  for (size_t at = 0; at < text.size();) {
    if (kSpaces.find(text[at]) != std::string_view::npos) {
      line += text[at++] == '\n';
      continue;
    }
    const std::string_view word = text.substr(at, text.find_first_of(kSpaces, at) - at);
    const auto id = parse_id(word);
    if (!id) {
      throw Error(Fault::input,
                  fmt::format("{}: line {}: a token id is expected, not '{}'", name, line, word.substr(0, 40)));
    }
    ids.push_back(*id);
    at += word.size();
  }
  if (ids.empty()) throw Error(Fault::input, fmt::format("{}: no token ids in it", name));
  return ids;
}

}  // namespace flashmoe
