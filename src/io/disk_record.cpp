#include "io/disk_record.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>

#include "base/small_file.h"

namespace flashmoe {
namespace {

constexpr int kVersion = 2;
constexpr long kMostSeconds = 24L * 3600;  // a trial may have met a slow moment
constexpr size_t kMostBytes = 4096;        // of a record

uint64_t hash(std::string_view text) {  // FNV-1a
  uint64_t h = 14695981039346656037ULL;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return h;
}

std::string first_word(const std::string& path) {
  std::ifstream in(path);
  std::string word;
  in >> word;
  return word;
}

// Of the whole device, where the number is a partition's.
std::string model_and_serial(const std::string& number) {
  std::string found;
  for (const char* folder : {"", "/.."}) {
    const std::string device = "/sys/dev/block/" + number + folder;
    for (const char* name : {"/device/model", "/device/serial", "/serial", "/wwid"}) {
      const std::string word = first_word(device + name);
      if (!word.empty()) found += "/" + word;
    }
    if (!found.empty()) break;
  }
  return found;
}

std::string record_path(const std::string& folder, const std::string& key) {
  return fmt::format("{}/disk-{:016x}.txt", folder, hash(key));
}

std::string record_text(const std::string& key, const DiskChoice& choice) {
  std::string text =
      fmt::format("flashmoe disk {}\n{}\nengine {}\ndepth {}\ndirect {}\nchunk {}\nmb_per_s {}\n", kVersion, key,
                  choice.engine == ReadEngine::uring ? "io_uring" : "pread", choice.depth, choice.direct ? 1 : 0,
                  choice.chunk_bytes, static_cast<int64_t>(choice.gb_per_s * 1000));
  return text + fmt::format("check {:016x}\n", hash(text));
}

}  // namespace

std::string disk_key(const DiskQuestion& question) {
  struct stat status = {};
  utsname kernel = {};
  ::stat(question.file->path().c_str(), &status);
  ::uname(&kernel);
  const std::string number = fmt::format("{}:{}", major(status.st_dev), minor(status.st_dev));
  std::string sizes;
  for (const uint64_t bytes : question.read_bytes) sizes += fmt::format(" {}", bytes);
  return fmt::format("device {}{} kernel {} reads{} may{}{}{}{}", number, model_and_serial(number), kernel.release,
                     sizes, question.may_uring ? " io_uring" : "", question.may_pread ? " pread" : "",
                     question.may_direct ? " direct" : "", question.may_buffered ? " buffered" : "");
}

std::optional<DiskChoice> load_disk_choice(const std::string& folder, const std::string& key) {
  const std::string path = record_path(folder, key);
  struct stat status = {};
  if (folder.empty() || ::stat(path.c_str(), &status) != 0) return std::nullopt;
  // Of tomorrow it is where a clock was wrong, and would be believed for as long.
  if (std::abs(std::time(nullptr) - status.st_mtime) > kMostSeconds) return std::nullopt;
  const std::string text = read_small_file(path, kMostBytes).value_or("");
  char engine[16] = {};
  int depth = 0, direct = 0;
  unsigned long long chunk = 0;
  long long mb_per_s = 0;
  const size_t values = text.find("\nengine ");
  if (values == std::string::npos ||
      std::sscanf(text.c_str() + values, "\nengine %15s\ndepth %d\ndirect %d\nchunk %llu\nmb_per_s %lld", engine,
                  &depth, &direct, &chunk, &mb_per_s) != 5) {
    return std::nullopt;
  }
  const DiskChoice choice{std::string_view(engine) == "pread" ? ReadEngine::pread : ReadEngine::uring, depth,
                          direct != 0, chunk, static_cast<double>(mb_per_s) / 1000};
  // What was written says exactly this; anything else is damaged, or of another version, drive or question.
  if (record_text(key, choice) != text) return std::nullopt;
  return choice;
}

void save_disk_choice(const std::string& folder, const std::string& key, const DiskChoice& choice) noexcept {
  if (!folder.empty()) write_small_file(record_path(folder, key), record_text(key, choice));
}

}  // namespace flashmoe
