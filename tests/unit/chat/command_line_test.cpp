#include "chat/command_line.h"

#include <gtest/gtest.h>

#include "support/temp_dir.h"

namespace flashmoe {
namespace {

using Kind = TypedLine::Kind;

TEST(CommandLineTest, Questions) {
  EXPECT_EQ(parse_typed("What is 1/2?").text, "What is 1/2?");
  EXPECT_EQ(parse_typed("  padded  \n").text, "  padded");
  EXPECT_EQ(parse_typed("").text, "");
  EXPECT_EQ(parse_typed("\n\n    code\n  more\n").text, "    code\n  more");
  for (const char* line : {"hi /help", "/usr/bin/env is what?", "/ alone", "/1", "//help me"}) {
    EXPECT_EQ(parse_typed(line).kind, Kind::question) << line;
  }
  EXPECT_EQ(parse_typed("//help me").text, "/help me");
}

TEST(CommandLineTest, Commands) {
  const TypedLine read = parse_typed(" /read  some file.txt ");
  ASSERT_EQ(read.kind, Kind::command);
  EXPECT_EQ(read.command->command, ChatCommand::read);
  EXPECT_EQ(read.text, "some file.txt");
  EXPECT_EQ(parse_typed("/system two\nlines").text, "two\nlines");
  for (const CommandInfo& info : all_commands()) {
    const TypedLine typed = parse_typed(info.name);
    ASSERT_EQ(typed.kind, Kind::command) << info.name;
    EXPECT_EQ(typed.command->command, info.command);
  }
  EXPECT_EQ(all_commands().size(), 14U);
}

TEST(CommandLineTest, BeginningsMeanTheOneCommandTheyBelongTo) {
  EXPECT_EQ(parse_typed("/q").command->command, ChatCommand::quit);
  EXPECT_EQ(parse_typed("/s").kind, Kind::unknown_command);  // sessions, system, save, stats
  EXPECT_EQ(parse_typed("/se").command->command, ChatCommand::sessions);
  EXPECT_EQ(parse_typed("/nothing").kind, Kind::unknown_command);
  EXPECT_EQ(parse_typed("/nothing").text, "/nothing");
}

using Words = std::vector<std::string>;

TEST(CommandLineTest, CompletesCommandsAndChoices) {
  EXPECT_EQ(completions("/s", {}), (Words{"/save", "/sessions", "/stats", "/system"}));
  EXPECT_EQ(completions("/fo", {}), (Words{"/fork"}));
  EXPECT_EQ(completions("/think o", {}), (Words{"off", "on"}));
  EXPECT_EQ(completions("/tools ", {}), (Words{"off", "on"}));
  EXPECT_EQ(completions("hello /s", {}), Words{});
  EXPECT_EQ(completions("/none x", {}), Words{});
}

TEST(CommandLineTest, CompletesChatsAndFiles) {
  const Words chats = {"2026-a", "2026-b", "2025-c"};
  EXPECT_EQ(completions("/resume 2026", chats), (Words{"2026-a", "2026-b"}));
  const TempDir dir;
  dir.write("notes.txt", "x");
  dir.write("nothing/inner.txt", "x");
  dir.write(".hidden", "x");
  EXPECT_EQ(completions("/read " + dir.path() + "/no", {}), (Words{dir / "notes.txt", dir / "nothing/"}));
  EXPECT_EQ(completions("/read " + dir.path() + "/", {}), (Words{dir / "notes.txt", dir / "nothing/"}));
  EXPECT_EQ(completions("/save " + dir.path() + "/none/", {}), Words{});
}

}  // namespace
}  // namespace flashmoe
