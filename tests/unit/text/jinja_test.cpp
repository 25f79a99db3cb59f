// The template interpreter against python3-jinja2's renders (tests/data/jinja, made by tools/make_jinja_fixtures.py).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "flashmoe/error.h"
#include "support/test_data.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/json.h"
#include "text/jinja/parser.h"

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

// The render, or "error: ..." for an Error{input}.
std::string outcome(const std::string& source, const Json& context, const jinja::Limits& limits = {}) {
  try {
    return jinja::render(jinja::parse(source), jinja::from_json(context), limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::input);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return std::string("error: ") + error.what();
  }
}

// One line a case: {"t": template, "c": name of the context, "want": text} or {..., "error": true}.
size_t check_lines(const std::string& file, const Json& contexts) {
  std::istringstream lines(read_test_data("jinja/" + file));
  std::string line;
  size_t n = 0;
  while (std::getline(lines, line)) {
    const Json entry = Json::parse(line);
    const std::string got = outcome(entry["t"], contexts.at(entry["c"].get<std::string>()));
    if (entry.contains("error")) {
      EXPECT_EQ(got.rfind("error: ", 0), 0U) << "template: " << entry["t"] << "\ngot: " << got;
    } else {
      EXPECT_EQ(got, entry["want"].get<std::string>()) << "template: " << entry["t"];
    }
    ++n;
  }
  return n;
}

TEST(Jinja, SmallTemplatesRenderAsTheReference) {
  EXPECT_GE(check_lines("cases.jsonl", Json::parse(read_test_data("jinja/contexts.json"))), 300U);
}

TEST(Jinja, RandomExpressionsEvaluateAsTheReference) {
  EXPECT_GE(check_lines("expressions.jsonl", Json::parse(read_test_data("jinja/contexts.json"))), 3000U);
}

TEST(Jinja, ChatTemplatesRenderAsTheReference) {
  const Json chats = Json::parse(read_test_data("jinja/chats.json"));
  size_t n = 0;
  for (const auto& [file, wants] : chats["wants"].items()) {
    const std::string source = read_test_data("jinja/" + file);
    ASSERT_FALSE(source.empty()) << file;
    for (size_t i = 0; i < wants.size(); ++i, ++n) {
      const std::string got = outcome(source, chats["requests"][i]);
      if (wants[i].is_null()) {
        EXPECT_EQ(got.rfind("error: ", 0), 0U) << file << " request " << i;
      } else {
        EXPECT_EQ(got, wants[i].get<std::string>()) << file << " request " << i;
      }
    }
  }
  EXPECT_GE(n, 400U);
}

TEST(Jinja, ErrorsNameLineAndReason) {
  EXPECT_EQ(outcome("a\n{{ x.y }}", Json::object()), "error: chat template, line 2: 'x' is undefined");
  EXPECT_EQ(outcome("\n\n{% if %}", Json::object()),
            "error: chat template, line 3: expected an expression, found '%}'");
  EXPECT_EQ(outcome("{{ raise_exception('no\nuser') }}", Json::object()), "error: chat template, line 1: no user");
  EXPECT_EQ(outcome("{{ 1 | nope }}", Json::object()),
            "error: chat template, line 1: the filter 'nope' is not known here or not supported");
  EXPECT_EQ(outcome("{% macro f() %}{{ f() }}{% endmacro %}\n{{ f() }}", Json::object()),
            "error: chat template, line 1: calls or expressions are nested too deep");
}

TEST(Jinja, MarginsAreAsWideAsTheyAreWished) {
  const std::string margin(2000, ' ');
  EXPECT_EQ(outcome("{{ 'a\nb' | indent(2000) }}", Json::object()), "a\n" + margin + "b");
  EXPECT_EQ(outcome("{{ [1] | tojson(indent=2000) }}", Json::object()), "[\n" + margin + "1\n]");
  EXPECT_EQ(outcome("{{ 'a\nb' | indent(-1) }}{{ [1] | tojson(indent=-1) }}", Json::object()), "a\nb[\n1\n]");
}

TEST(Jinja, IntegersThatDoNotFitAreErrors) {
  EXPECT_EQ(outcome("{{ 9223372036854775807 + 1 }}", Json::object()),
            "error: chat template, line 1: an integer does not fit 64 bits");
  EXPECT_EQ(outcome("{{ 2 ** 64 }}", Json::object()), "error: chat template, line 1: an integer does not fit 64 bits");
}

void expect_refused(const std::string& source, const std::string& reason) {
  const std::string got = outcome(source, Json::object(), {200'000, uint64_t{16} << 20});
  EXPECT_EQ(got.rfind("error: ", 0), 0U) << source.substr(0, 80);
  EXPECT_NE(got.find(reason), std::string::npos) << got.substr(0, 200);
}

std::string repeated(const std::string& text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

TEST(Jinja, HostileTemplatesEnd) {
  const std::string loop = "{% for i in range(9999) %}";
  expect_refused(loop + loop + "{{ i }}{% endfor %}{% endfor %}", "too many steps");
  expect_refused("{{ 'x' * 9223372036854775807 }}", "more text than it may");
  expect_refused("{% set ns = namespace(s='xxxxxxxx') %}" + loop + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
                 "the template ");
  expect_refused("{% set s = 'a' * 100000 %}{{ s | replace('a', s) }}", "the template ");
  expect_refused("{{ [1] * 999999999 }}", "the template ");
  expect_refused("{{ 'a\nb' | indent(9223372036854775807) }}", "more text than it may");
  expect_refused("{{ [1] | tojson(indent=9223372036854775807) }}", "more text than it may");
  expect_refused("{{ [[[[1]]]] | tojson(indent=6000000) }}", "more text than it may");
  expect_refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested too deep");
  expect_refused("{{ " + repeated("(", 5000) + "1" + repeated(")", 5000) + " }}", "nested too deep");
  expect_refused("{{ 1" + repeated(" + 1", 5000) + " }}", "nested too deep");
  expect_refused(repeated("{% if 1 %}", 5000), "nested too deep");
  expect_refused("{% set ns = namespace(x=[]) %}" + loop + "{% set ns.x = [ns.x] %}{% endfor %}", "deep");
  expect_refused(
      "{% set ns = namespace(x=[1]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
      "too many steps");
  expect_refused(std::string(size_t{2} << 20, 'x'), "at most");
}

TEST(Jinja, NamespacesThatHoldThemselvesAreFreed) {
  EXPECT_EQ(outcome("{% set a = namespace() %}{% set a.me = a %}{% set a.l = [a] %}ok", Json::object()), "ok");
  expect_refused("{% set a = namespace() %}{% set a.me = a %}{{ a }}", "too deep to print");
}

TEST(Jinja, TheClockIsFormatted) {
  EXPECT_EQ(outcome("{{ strftime_now('%Y-%m-%d') | length }}{{ strftime_now('%%') }}", Json::object()), "10%");
}

}  // namespace
}  // namespace flashmoe
