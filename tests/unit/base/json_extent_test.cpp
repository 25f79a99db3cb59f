#include "flashmoe/json_extent.h"

#include <gtest/gtest.h>

#include <vector>

namespace flashmoe {
namespace {

std::string object_of(size_t n_names) {
  std::string text = "{";
  for (size_t i = 0; i < n_names; ++i) text += (i == 0 ? "\"n" : ",\"n") + std::to_string(i) + "\":[{}]";
  return text + "}";
}

std::string levels(size_t n) { return std::string(n, '[') + std::string(n, ']'); }

TEST(JsonExtent, ValuesLevelsAndNamesAreCounted) {
  struct Case {
    const char* json;
    size_t n_values, n_levels, most_names;
  };
  for (const Case& c : std::vector<Case>{{"", 0, 0, 0},
                                         {" [] ", 1, 1, 0},
                                         {"12", 1, 0, 0},
                                         {"[1,-2.5e3 , true,null]", 5, 1, 0},
                                         {R"({"a": "b,[:\"", "c":{}})", 5, 2, 2},
                                         {R"({"a":{"x":1,"y":2,"z":3},"b":[{"x":1},{"x":1}],"c":":"})", 19, 3, 3},
                                         {R"({"a":{"x":1},"b":{},"c":0})", 9, 2, 3},
                                         {R"(["\\",[[]],"x"])", 5, 3, 0},
                                         {"\"open", 1, 0, 0},
                                         {"]}::{\"a\":", 2, 1, 2}}) {
    const JsonExtent extent = json_extent(c.json);
    EXPECT_EQ(extent.n_values, c.n_values) << c.json;
    EXPECT_EQ(extent.n_levels, c.n_levels) << c.json;
    EXPECT_EQ(extent.most_names, c.most_names) << c.json;
  }
}

TEST(JsonExtent, ExcessIsTold) {
  EXPECT_FALSE(json_extent(levels(kMostJsonLevels)).excess());
  EXPECT_EQ(json_extent(levels(kMostJsonLevels + 1)).excess(), "is nested more than 100 levels deep");
  EXPECT_EQ(json_extent(std::string(1'000'000, '[') + "{\"a\":1").excess(), "is nested more than 100 levels deep");
  std::string many = "[" + object_of(kMostJsonNames);
  for (int i = 0; i < 3; ++i) many += "," + object_of(kMostJsonNames);
  EXPECT_FALSE(json_extent(many + "]").excess());
  EXPECT_EQ(json_extent("[{},[" + object_of(kMostJsonNames + 1) + "]]").excess(),
            "has an object with more than 4096 names; divide it into smaller ones");
}

}  // namespace
}  // namespace flashmoe
