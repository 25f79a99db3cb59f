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
constexpr uint64_t kLatest_s = 253402300799;  // the end of the year 9999

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

int64_t read_time(const Json& json) {
  const auto time = json.find("updated_s");
  if (time == json.end()) return 0;
  if (!time->is_number_unsigned() || time->get<uint64_t>() > kLatest_s) {
    throw Error(Fault::input, "its updated_s is no Unix time");
  }
  return time->get<int64_t>();
}

Transcript read(const std::string& text) {
  const Json json = parse_json(text);
  if (!json.is_object() || json.value("version", 0) != kVersion) {
    throw Error(Fault::input, fmt::format("is not a chat of version {}", kVersion));
  }
  Transcript transcript;
  transcript.model = json.value("model", "");
  transcript.updated_s = read_time(json);
  transcript.forked_from = json.value("forked_from", "");
  transcript.conversation = Conversation(json.at("messages"));
  return transcript;
}

Transcript take_last(TranscriptStore::Listing& listing, const std::string& none_kept) {
  const bool any = !listing.transcripts.empty();
  if (!listing.damaged.empty() &&
      (!any || listing.damaged.front().modified_s > listing.transcripts.front().updated_s)) {
    throw Error(Fault::input, listing.damaged.front().what + "; it is the last one: name another to go on with");
  }
  if (!any) throw Error(Fault::input, none_kept);
  return std::move(listing.transcripts.front());
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

std::string TranscriptStore::none_kept() const {
  return folder_.empty() ? "no chats are kept: neither HOME nor XDG_DATA_HOME names a folder"
                         : "no chats are kept in " + folder_;
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
  const std::string text = read_regular_text(path);
  try {
    Transcript transcript = read(text);
    transcript.id = id;
    return transcript;
  } catch (const Json::exception&) {
    throw Error(Fault::input, path + ": is damaged: not the JSON of a chat");
  } catch (const Error& error) {
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
      struct stat status = {};
      ::stat(path_of(name).c_str(), &status);
      listing.damaged.push_back({name, error.what(), status.st_mtime});
    }
  }
  std::sort(listing.transcripts.begin(), listing.transcripts.end(), [](const Transcript& a, const Transcript& b) {
    return a.updated_s != b.updated_s ? a.updated_s > b.updated_s : a.id > b.id;
  });
  std::sort(listing.damaged.begin(), listing.damaged.end(), [](const Damaged& a, const Damaged& b) {
    return a.modified_s != b.modified_s ? a.modified_s > b.modified_s : a.id > b.id;
  });
  return listing;
}

Transcript TranscriptStore::find(const std::string& name) const {
  Listing listing = list();
  std::vector<Transcript>& all = listing.transcripts;
  if (name == "last") return take_last(listing, none_kept());
  size_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error == std::errc() && end == name.data() + name.size() && number >= 1 && number <= all.size()) {
    return std::move(all[number - 1]);
  }
  Transcript* found = nullptr;
  const Damaged* damaged = nullptr;
  int n_found = 0;
  for (Transcript& each : all) {
    if (each.id.starts_with(name)) found = &each, ++n_found;
  }
  for (const Damaged& each : listing.damaged) {
    if (each.id.starts_with(name)) damaged = &each, ++n_found;
  }
  if (n_found > 1) throw Error(Fault::input, fmt::format("more than one chat begins with '{}'", name));
  if (damaged != nullptr) throw Error(Fault::input, damaged->what);
  if (all.empty()) throw Error(Fault::input, none_kept());
  if (found == nullptr) throw Error(Fault::input, fmt::format("there is no chat '{}'; /sessions lists them", name));
  return std::move(*found);
}

}  // namespace flashmoe
