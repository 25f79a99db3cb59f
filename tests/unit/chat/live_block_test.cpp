#include "chat/live_block.h"

#include <gtest/gtest.h>

#include "small_terminal.h"

namespace flashmoe {
namespace {

std::vector<Line> lines(std::initializer_list<const char*> texts) {
  std::vector<Line> out;
  for (const char* text : texts) out.push_back({{kPlain, text}});
  return out;
}

TEST(LiveBlockTest, GrowthIsWrittenBehindWhatIsThere) {
  SmallTerminal terminal(20, 10);
  LiveBlock block(terminal.screen());
  block.show(lines({"one"}));
  block.show(lines({"one two"}));
  block.show(lines({"one two", "three"}));
  EXPECT_EQ(terminal.text(), "one two\nthree\n");
  EXPECT_EQ(terminal.n_erasures(), 0);
}

TEST(LiveBlockTest, ChangesAreWrittenFromTheFirstLineThatDiffers) {
  SmallTerminal terminal(20, 10);
  LiveBlock block(terminal.screen());
  block.show(lines({"one", "two", "three"}));
  block.show(lines({"one", "TWO", "three", "four"}));
  EXPECT_EQ(terminal.text(), "one\nTWO\nthree\nfour\n");
  block.show(lines({"one"}));
  EXPECT_EQ(terminal.text(), "one\n");
  block.show(lines({"one", "2"}));
  EXPECT_EQ(terminal.text(), "one\n2\n");
}

TEST(LiveBlockTest, EraseLeavesNothing) {
  SmallTerminal terminal(20, 10);
  LiveBlock block(terminal.screen());
  block.show(lines({"kept"}));
  block.finish();
  block.show(lines({"gone", "too"}));
  block.erase();
  EXPECT_EQ(terminal.text(), "kept\n");
  block.show(lines({"next"}));
  EXPECT_EQ(terminal.text(), "kept\nnext\n");
}

TEST(LiveBlockTest, LinesThatLeftTheScreenStay) {
  SmallTerminal terminal(20, 3);
  LiveBlock block(terminal.screen());
  block.show(lines({"1", "2", "3", "4", "5"}));
  block.show(lines({"one", "2", "3", "4", "five"}));
  EXPECT_EQ(terminal.text(), "1\n2\n3\n4\nfive\n");
}

}  // namespace
}  // namespace flashmoe
