#include "chat/key_sequence.h"

#include <gtest/gtest.h>

#include <string>

namespace flashmoe {
namespace {

TEST(KeySequenceTest, EndsWhereTheKeyDoes) {
  for (const std::string_view key : {"[A", "OP", "[1;5C", "[15~", "[Z", "[97;5u", "[<0;10;10M", "[3^", "[[E", "O5P",
                                     "b", "\r", "\xC3", "\033[A", "\033\033OP", "[200~", "[\r"}) {
    const std::string keys = "\033" + std::string(key);
    for (size_t n = 1; n < keys.size(); ++n) EXPECT_TRUE(goes_on(keys.substr(0, n))) << key << " at " << n;
    EXPECT_FALSE(goes_on(keys)) << key;
  }
}

TEST(KeySequenceTest, LettersWithAltAreNone) {
  for (const char* keys : {"\033[A", "\033OP", "\033[", "\033\033[1;5C"}) EXPECT_TRUE(is_control_sequence(keys));
  for (const char* keys : {"\033", "\033\033", "\033b", "\033\r", "\033\033b"}) EXPECT_FALSE(is_control_sequence(keys));
}

}  // namespace
}  // namespace flashmoe
