#include "engine/sampled_calls.h"

#include <algorithm>

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSpace = " \t\r\n";

std::string trimmed(const std::string& text) {
  const size_t start = text.find_first_not_of(kSpace);
  return start == std::string::npos ? "" : text.substr(start, text.find_last_not_of(kSpace) + 1 - start);
}

const Json* calls_of(const Json& message) {
  if (!message.is_object() || message.value("role", Json()) != "assistant") return nullptr;
  const auto calls = message.find("tool_calls");
  return calls == message.end() || !calls->is_array() || calls->empty() ? nullptr : &*calls;
}

std::string id_of(const Json& calls) {
  const Json& first = calls.front();
  const auto id = first.is_object() ? first.find("id") : first.end();
  return first.is_object() && id != first.end() && id->is_string() ? id->get<std::string>() : "";
}

// What a message says, comparable: null for one that is not made as ours are. Numbers of either kind compare by value.
nlohmann::json said_in(const Json& message) {
  const Json* calls = calls_of(message);
  if (calls == nullptr) return nullptr;
  nlohmann::json said = nlohmann::json::array();
  const auto content = message.find("content");
  const bool silent = content == message.end() || content->is_null();
  if (!silent && !content->is_string()) return nullptr;
  said.push_back(silent ? "" : trimmed(content->get_ref<const std::string&>()));
  for (const Json& call : *calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) return nullptr;
    const Json& function = call["function"];
    if (!function.contains("name") || !function.contains("arguments")) return nullptr;
    said.push_back(nlohmann::json::array({call.value("id", Json()), function["name"], function["arguments"]}));
  }
  return said;
}

}  // namespace

void SampledCalls::add(Entry entry) {
  const std::lock_guard lock(mutex_);
  bytes_ += entry.bytes();
  entries_.push_back(std::move(entry));
  for (; bytes_ > kMostBytes; entries_.pop_front()) bytes_ -= entries_.front().bytes();
}

void SampledCalls::keep(const Json& message, std::string text) {
  add({id_of(*calls_of(message)), said_in(message), std::move(text)});
}

// The latest conversations are the ones that go on.
SampledCalls::Entry* SampledCalls::find(const Json& message) {
  const Json* calls = calls_of(message);
  if (calls == nullptr) return nullptr;
  const std::string id = id_of(*calls);
  const auto found =
      std::find_if(entries_.rbegin(), entries_.rend(), [&](const Entry& entry) { return entry.id == id; });
  return found == entries_.rend() || found->said != said_in(message) ? nullptr : &*found;
}

Json SampledCalls::restored(Json chat) {
  if (!chat.is_object() || !chat.contains("messages") || !chat["messages"].is_array()) return chat;
  const std::lock_guard lock(mutex_);
  for (Json& message : chat["messages"]) {
    Entry* entry = find(message);
    if (entry == nullptr) continue;
    entry->used = true;
    message["content"] = entry->text;
    message.erase("tool_calls");
  }
  return chat;
}

bool SampledCalls::save_one(SessionFolder& folder) {
  if (folder.resting()) return false;
  SessionRecord record{SessionPart::words, 0, {}};
  std::string payload;
  {
    const std::lock_guard lock(mutex_);
    const auto next =
        std::find_if(entries_.begin(), entries_.end(), [](const Entry& e) { return !e.on_disk || e.used; });
    if (next == entries_.end()) return false;
    record.ids.assign(next->id.begin(), next->id.end());
    if (!next->on_disk) payload = nlohmann::json{{"said", next->said}, {"text", next->text}}.dump();
    next->used = false;
  }
  if (payload.empty()) {
    folder.touch(record);
    return true;
  }
  if (!folder.write(record, {std::as_writable_bytes(std::span(payload))})) return false;
  const std::lock_guard lock(mutex_);
  for (Entry& entry : entries_)
    entry.on_disk |= std::equal(record.ids.begin(), record.ids.end(), entry.id.begin(), entry.id.end());
  return true;
}

void SampledCalls::recall(const std::vector<SessionFolder::Found>& found, SessionFolder& folder) {
  for (const auto& [record, payload_bytes] : found) {
    if (record.part != SessionPart::words || payload_bytes > kMostBytes) continue;
    std::string payload(payload_bytes, '\0');
    if (!folder.read(record, {std::as_writable_bytes(std::span(payload))})) continue;
    const auto json = nlohmann::json::parse(payload, nullptr, false);
    if (!json.is_object() || !json.contains("said") || !json.contains("text") || !json["text"].is_string()) continue;
    add({{record.ids.begin(), record.ids.end()}, json["said"], json["text"], true});
  }
}

}  // namespace flashmoe
