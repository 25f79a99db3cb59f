// The fields of a JSON request, read with their type and range; an ApiError names the one at fault.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "json.h"
#include "serve/api_error.h"

namespace flashmoe {

// An object that parse_json reads. Throws ApiError 400.
Json parse_object(std::string_view body);

// The arguments of a tool call, which are JSON inside a string; null unless they are an object, read as above.
Json parse_argument_object(std::string_view text);

// One object of a request. `where` is its place in it, such as "messages[2].".
class RequestFields {
 public:
  explicit RequestFields(const Json& object, std::string where = {});

  // Null counts as absent everywhere.
  bool has(const char* name) const { return find(name) != nullptr; }
  const Json* find(const char* name) const;
  std::string at(const char* name) const { return where_ + name; }

  std::optional<bool> boolean(const char* name) const;
  std::optional<int64_t> integer(const char* name, int64_t least, int64_t most) const;
  std::optional<double> number(const char* name, double least, double most) const;
  std::optional<std::string> text(const char* name) const;
  std::optional<RequestFields> object(const char* name) const;
  const Json* array(const char* name) const;
  std::string required_text(const char* name) const;
  std::string filled_text(const char* name) const;  // required, and not empty
  const Json& required_array(const char* name) const;
  // One of the words given.
  std::optional<std::string> word(const char* name, std::initializer_list<const char*> words) const;
  // Refuses what is not built, unless it is null, false, empty or `harmless`.
  void refuse(const char* name, const char* why, const Json& harmless = nullptr) const;

  const Json& json() const { return *object_; }

 private:
  [[noreturn]] void complain(const char* name, const std::string& expected) const;
  const Json* object_;
  std::string where_;
};

[[noreturn]] void bad_request(const std::string& field, const std::string& message);

// The "arguments" of a call, which are an object written as a string; "{}" where there are none. Throws ApiError 400.
std::string call_arguments(const RequestFields& call);

}  // namespace flashmoe
