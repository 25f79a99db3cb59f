#include "chat/transcript_store.h"

#include <dirent.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>
#include <memory>
#include <random>

#include "flashmoe/error.h"
#include "output_file.h"
#include "text_input.h"

namespace flashmoe {
namespace {

constexpr int kVersion = 1;
constexpr const char* kSuffix = ".json";

// With all folders on its way, each for its owner only.
void make_folder(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      throw Error(Fault::io, fmt::format("cannot make the folder {}: {}", part, std::strerror(errno)));
    }
    if (end == std::string::npos) return;
  }
}

Transcript read(const std::string& text) {
  const Json json = parse_json(text);
  if (!json.is_object() || json.value("version", 0) != kVersion) {
    throw Error(Fault::input, fmt::format("is not a chat of version {}", kVersion));
  }
  Transcript transcript;
  transcript.model = json.value("model", "");
  transcript.updated_s = json.value("updated_s", int64_t{0});
  transcript.forked_from = json.value("forked_from", "");
  transcript.conversation = Conversation(json.at("messages"));
  return transcript;
}

}  // namespace

std::string TranscriptStore::new_id() const {
  std::random_device random;
  while (true) {
    const std::time_t now = std::time(nullptr);
    const std::string id = fmt::format("{:%Y%m%d-%H%M%S}-{:04x}", fmt::gmtime(now), random() & 0xFFFF);
    struct stat status = {};
    if (::stat(path_of(id).c_str(), &status) != 0) return id;
  }
}

std::string TranscriptStore::path_of(const std::string& id) const { return folder_ + "/" + id + kSuffix; }

void TranscriptStore::save(Transcript& transcript) const {
  make_folder(folder_);
  transcript.updated_s = static_cast<int64_t>(std::time(nullptr));
  Json json = {{"version", kVersion}, {"model", transcript.model}, {"updated_s", transcript.updated_s}};
  if (!transcript.forked_from.empty()) json["forked_from"] = transcript.forked_from;
  json["title"] = transcript.conversation.title();
  json["messages"] = transcript.conversation.messages();
  OutputFile file(path_of(transcript.id), 0600);
  file.write(dump(json, 1) + "\n");
  file.commit();
}

void TranscriptStore::remove(const std::string& id) const { ::unlink(path_of(id).c_str()); }

Transcript TranscriptStore::load(const std::string& id) const {
  const std::string path = path_of(id);
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) throw Error(Fault::input, path + ": not a file");
  try {
    Transcript transcript = read(read_text(path));
    transcript.id = id;
    return transcript;
  } catch (const Json::exception&) {
    throw Error(Fault::input, path + ": is damaged: not the JSON of a chat");
  } catch (const Error& error) {
    if (error.fault() == Fault::io) throw;
    throw Error(Fault::input, fmt::format("{}: is damaged: {}", path, error.what()));
  }
}

TranscriptStore::Listing TranscriptStore::list() const {
  Listing listing;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(folder_.c_str()), ::closedir);
  if (folder == nullptr) {
    if (errno == ENOENT) return listing;
    throw Error(Fault::io, fmt::format("cannot read {}: {}", folder_, std::strerror(errno)));
  }
  while (const dirent* entry = ::readdir(folder.get())) {
    std::string name = entry->d_name;
    if (name.starts_with('.') || !name.ends_with(kSuffix)) continue;
    name.resize(name.size() - std::strlen(kSuffix));
    try {
      listing.transcripts.push_back(load(name));
    } catch (const Error& error) {
      listing.damaged.emplace_back(error.what());
    }
  }
  std::sort(listing.transcripts.begin(), listing.transcripts.end(), [](const Transcript& a, const Transcript& b) {
    return a.updated_s != b.updated_s ? a.updated_s > b.updated_s : a.id > b.id;
  });
  std::sort(listing.damaged.begin(), listing.damaged.end());
  return listing;
}

Transcript TranscriptStore::find(const std::string& name) const {
  Listing listing = list();
  std::vector<Transcript>& all = listing.transcripts;
  if (all.empty()) throw Error(Fault::input, "no chats are kept in " + folder_);
  if (name == "last") return std::move(all.front());
  size_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error == std::errc() && end == name.data() + name.size() && number >= 1 && number <= all.size()) {
    return std::move(all[number - 1]);
  }
  Transcript* found = nullptr;
  for (Transcript& transcript : all) {
    if (!transcript.id.starts_with(name)) continue;
    if (found != nullptr) throw Error(Fault::input, fmt::format("more than one chat begins with '{}'", name));
    found = &transcript;
  }
  if (found == nullptr) throw Error(Fault::input, fmt::format("there is no chat '{}'; /sessions lists them", name));
  return std::move(*found);
}

}  // namespace flashmoe
