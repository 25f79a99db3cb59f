#include "chat/tool_box.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace flashmoe {
namespace {

bool go_on() { return true; }

ToolCall call(const std::string& name, const Json& arguments) { return {"id", name, dump(arguments)}; }

class ToolBoxTest : public testing::Test {
 protected:
  ToolBoxTest() : tools_(make({2, 1000})) { tools_->add_own(); }

  std::unique_ptr<ToolBox> make(const ChildLimits& limits) {
    dir_.write("work/a.txt", "some text\n");
    dir_.write("outside.txt", "secret");
    return std::make_unique<ToolBox>(dir_ / "work", limits);
  }
  std::string bash(const std::string& command) { return tools_->run(call("bash", {{"command", command}}), go_on); }

  TempDir dir_;
  std::unique_ptr<ToolBox> tools_;
};

TEST_F(ToolBoxTest, BashReturnsOutputErrorsAndExitCode) {
  EXPECT_EQ(bash("echo out"), "out\nexit code: 0");
  EXPECT_EQ(bash("echo out; echo err >&2; exit 3"), "out\nstderr:\nerr\nexit code: 3");
  EXPECT_EQ(bash("true"), "exit code: 0");
  EXPECT_EQ(bash("cat a.txt"), "some text\nexit code: 0");
  EXPECT_EQ(bash("kill -9 $$"), "ended by signal 9 (Killed)");
  EXPECT_EQ(bash("cat"), "exit code: 0");  // standard input is empty
}

TEST_F(ToolBoxTest, SignalsAreAsTheyWereBefore) {
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  EXPECT_EQ(bash("yes | head -n 1; echo ${PIPESTATUS[0]}"), "y\n141\nexit code: 0");
  std::signal(SIGPIPE, before);
}

TEST_F(ToolBoxTest, TimeIsLimited) {
  tools_ = make({1, 1000});
  tools_->add_own();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(bash("echo begun; sleep 100 & sleep 100"), "begun\nstopped: it ran for more than 1 s");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST_F(ToolBoxTest, TheUserStopsACommand) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(tools_->run(call("bash", {{"command", "echo x; sleep 100"}}),
                        [&] { return std::chrono::steady_clock::now() - start < std::chrono::milliseconds(300); }),
            "x\nstopped by the user");
}

TEST_F(ToolBoxTest, NothingIsLeftRunning) {
  bash("(sleep 1; touch late.txt) & disown");
  std::this_thread::sleep_for(std::chrono::milliseconds(1300));
  EXPECT_EQ(bash("ls"), "a.txt\nexit code: 0");
}

TEST_F(ToolBoxTest, OutputIsLimited) {
  const std::string text = bash("head -c 100000 /dev/zero | tr '\\0' x; echo; echo the end");
  EXPECT_LT(text.size(), 1200U);
  EXPECT_NE(text.find("99009 bytes left out"), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("the end\nexit code: 0"));
  EXPECT_EQ(bash("head -c 1000 /dev/zero | tr '\\0' x"), std::string(1000, 'x') + "\nexit code: 0");
}

TEST_F(ToolBoxTest, ReadFile) {
  const auto read = [&](const std::string& path) { return tools_->run(call("read_file", {{"path", path}}), go_on); };
  EXPECT_EQ(read("a.txt"), "some text\n");
  EXPECT_EQ(read("../outside.txt"), "error: cannot read ../outside.txt: it leads out of the tools' folder");
  EXPECT_EQ(read("none"), "error: cannot read none: No such file or directory");
  dir_.write("work/long", std::string(2500, 'x'));
  EXPECT_EQ(read("long"), std::string(1000, 'x') + "\n[1500 of 2500 bytes left out]");
  dir_.write("work/binary", std::string("a\0b", 3));
  EXPECT_EQ(read("binary"), "error: binary is not a text file");
}

TEST_F(ToolBoxTest, WriteFileAndListDir) {
  EXPECT_EQ(tools_->run(call("write_file", {{"path", "sub/b.txt"}, {"content", "made"}}), go_on),
            "wrote 4 bytes to sub/b.txt");
  EXPECT_EQ(read_bytes(dir_ / "work/sub/b.txt"), "made");
  EXPECT_EQ(tools_->run(call("write_file", {{"path", "../b.txt"}, {"content", "x"}}), go_on),
            "error: cannot write ../b.txt: it leads out of the tools' folder");
  EXPECT_EQ(tools_->run(call("list_dir", Json::object()), go_on), "a.txt (10 bytes)\nsub/\n");
  EXPECT_EQ(tools_->run(call("list_dir", {{"path", "sub"}}), go_on), "b.txt (4 bytes)\n");
  EXPECT_EQ(tools_->run(call("list_dir", {{"path", ".."}}), go_on),
            "error: cannot list ..: it leads out of the tools' folder");
}

TEST_F(ToolBoxTest, WrongCallsAreExplained) {
  const auto complaint = [&](const ToolCall& wrong) { return tools_->complaint(wrong).value_or("none"); };
  EXPECT_EQ(complaint(call("delete", Json::object())), "error: there is no tool named delete");
  EXPECT_EQ(complaint({"id", "bash", "{not json"}), "error: the arguments are not a JSON object");
  EXPECT_EQ(complaint({"id", "bash", "[]"}), "error: the arguments are not a JSON object");
  const std::string deep = R"({"command": )" + std::string(500'000, '[') + std::string(500'000, ']') + "}";
  EXPECT_EQ(complaint({"id", "bash", deep}), "error: the arguments are not a JSON object");
  EXPECT_EQ(tools_->shown({"id", "bash", deep}), "bash: " + deep);
  EXPECT_EQ(complaint(call("bash", Json::object())), "error: the argument command is missing");
  EXPECT_EQ(complaint(call("bash", {{"command", 3}})), "error: the argument command is not of type string");
  EXPECT_EQ(complaint(call("bash", {{"command", "ls"}})), "none");
  EXPECT_EQ(complaint({"id", "list_dir", ""}), "none");
}

TEST_F(ToolBoxTest, WhatTheUserIsAskedAbout) {
  EXPECT_EQ(tools_->shown(call("bash", {{"command", "rm -r x"}})), "bash: rm -r x");
  EXPECT_EQ(tools_->shown(call("write_file", {{"path", "p"}, {"content", "all of it"}})), "write_file: p\nall of it");
  const std::string one = tools_->permission(call("bash", {{"command", "ls"}}));
  EXPECT_NE(one, tools_->permission(call("bash", {{"command", "ls /"}})));
  EXPECT_EQ(tools_->permission(call("read_file", {{"path", "a"}})),
            tools_->permission(call("read_file", {{"path", "b"}})));
}

TEST_F(ToolBoxTest, ToolsOfAFile) {
  const std::string path = dir_.write("tools.json", R"({"tools": [
    {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}},
     "required": ["a"]}, "command": ["cat"]},
    {"name": "where", "description": "Tells.", "command": "basename $PWD; cat >/dev/null", "seconds": 5}]})");
  tools_->add_file(path);
  EXPECT_EQ(tools_->definitions().size(), 6U);
  EXPECT_EQ(tools_->run(call("add", {{"a", 2}}), go_on), "{\"a\":2}\nexit code: 0");
  EXPECT_EQ(tools_->run(call("where", Json::object()), go_on), "work\nexit code: 0");
  EXPECT_EQ(tools_->run(call("add", {{"a", "x"}}), go_on), "error: the argument a is not of type integer");
  EXPECT_EQ(tools_->definitions()[4]["function"]["parameters"]["required"], Json::parse(R"(["a"])"));
  expect_error([&] { tools_->add_file(path); }, Fault::input, {"two tools named add"});
}

TEST_F(ToolBoxTest, AToolThatCannotBeStarted) {
  tools_->add_file(dir_.write("tools.json", R"({"tools": [{"name": "x", "command": ["/none/such"]}]})"));
  EXPECT_EQ(tools_->run(call("x", Json::object()), go_on), "error: cannot start /none/such: No such file or directory");
}

TEST_F(ToolBoxTest, WrongToolFilesAreNamed) {
  for (const auto& [text, what] : std::initializer_list<std::pair<const char*, const char*>>{
           {"[]", "list of \"tools\""},
           {"{", "list of \"tools\""},
           {R"({"tools": [3]})", "an object"},
           {R"({"tools": [{"command": "x"}]})", "\"name\" is missing"},
           {R"({"tools": [{"name": "x"}]})", "tool x: \"command\" is missing"},
           {R"({"tools": [{"name": "x", "command": []}]})", "tool x: \"command\""},
           {R"({"tools": [{"name": "x", "command": [1]}]})", "tool x: \"command\""},
           {R"({"tools": [{"name": "x", "command": ""}]})", "tool x: \"command\""},
           {R"({"tools": [{"name": "x", "command": "y", "seconds": 0}]})", "tool x: \"seconds\""},
           {R"({"tools": [{"name": "x", "command": "y", "parameters": []}]})", "tool x: \"parameters\""}}) {
    const std::string path = dir_.write("wrong.json", text);
    expect_error([&] { make({2, 1000})->add_file(path); }, Fault::input, {path, what});
  }
}

}  // namespace
}  // namespace flashmoe
