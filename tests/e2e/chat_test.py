"""flashmoe chat with the built-in model: sessions, tools, pipes."""
import json
import re
import stat
import time
import unittest

from flashmoe_cli import BINARY, QUESTION, SLOW, SOURCE_DIR, Case, flashmoe
from terminal_session import TerminalSession

NO_THINK = ["--no-think"]


class ChatCase(Case):
    def setUp(self):
        super().setUp()
        self.environment = {"XDG_DATA_HOME": str(self.folder / "data"), "XDG_CACHE_HOME": str(self.folder / "cache")}
        self.chats = self.folder / "data" / "flashmoe" / "chats"

    def chat(self, *arguments):
        session = TerminalSession([BINARY, "chat", *arguments], **self.environment)
        self.addCleanup(session.close)
        session.prompt()
        return session

    def quit(self, session):
        session.line("/quit")
        self.assertEqual(session.end(), 0)

    def transcripts(self):
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.chats.glob("*.json"))]


class Sessions(ChatCase):
    def test_a_chat_is_kept_and_goes_on_after_a_restart(self):
        chat = self.chat(*NO_THINK)
        chat.line(QUESTION)
        shown = chat.prompt()
        self.assertIn("quantum", shown.lower())
        self.assertRegex(shown, r"\d+ tokens, [\d.,]+ tok/s, first token")
        chat.line("What is a monsoon?")
        chat.prompt()
        self.quit(chat)
        path, = self.chats.glob("*.json")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        again = self.chat("--resume", "last", *NO_THINK)
        again.line("What is the sun?")
        self.assertRegex(again.prompt(), r"prompt [\d,]+\s+\([\d,]+\s+known\)")
        messages = self.transcripts()[0]["messages"]
        self.assertEqual([message["role"] for message in messages], ["user", "assistant"] * 3)
        resumed = messages[-1]["content"]
        # The same conversation, read afresh, has the same answer.
        request = self.folder / "request.json"
        request.write_text(json.dumps({"messages": messages[:-1]}), encoding="utf-8")
        self.assertEqual(self.ask("--chat", request, "--no-think").rstrip("\n"), resumed.rstrip("\n"))

    def test_undo_fork_and_sessions(self):
        chat = self.chat("-n", 8, *NO_THINK)
        for question in ("What is a monsoon?", "What is the sun?"):
            chat.line(question)
            chat.prompt()
        for command, expected in (("/undo", "taken back: What is the sun?"), ("/fork", "with 1 of its 1 turn"),
                                  ("/sessions", "What is a monsoon?"), ("/stats", "hit rate"), ("/help", "/retry"),
                                  ("/nothing", "there is no command /nothing")):
            chat.line(command)
            self.assertIn(expected, chat.prompt())
        self.quit(chat)
        self.assertEqual([len(each["messages"]) for each in self.transcripts()], [2, 2])

    def test_damaged_chats_are_told(self):
        self.chats.mkdir(parents=True)
        (self.chats / "broken.json").write_text("{")
        chat = self.chat()
        chat.line("/sessions")
        self.assertIn("broken.json", re.sub(r"\s", "", chat.prompt()))
        self.assert_fails(flashmoe("chat", "--resume", "none", stdin=b"x\n", env={**self.environment}), 1, "no chats")

    def test_control_c_keeps_what_came(self):
        chat = self.chat(*SLOW, *NO_THINK)
        chat.line("Tell me a story about a lighthouse.")
        chat.expect(re.compile(r"\n[A-Z]\w+ \w+"))
        chat.interrupt()
        self.assertIn("interrupted", chat.prompt(30))
        self.assertGreater(len(self.transcripts()[0]["messages"][1]["content"]), 3)
        self.quit(chat)

    def test_control_c_at_the_start(self):
        """Whenever it comes, the chat ends."""
        for delay in (0.005, 0.01, 0.02, 0.03, 0.05, 0.08):
            chat = TerminalSession([BINARY, "chat"], **self.environment)
            self.addCleanup(chat.close)
            time.sleep(delay)
            chat.interrupt()
            chat.end()

    def test_no_save(self):
        chat = self.chat("--no-save", "-n", 3, *NO_THINK)
        chat.line("Hello")
        chat.prompt()
        self.quit(chat)
        self.assertFalse((self.folder / "data").exists())
        self.assertFalse((self.folder / "cache" / "flashmoe" / "sessions").exists())


class ToolLoop(ChatCase):
    def case(self):
        """A held-out request that the built-in model answers with a call: tools as a file, the question."""
        with open(SOURCE_DIR / "tests" / "data" / "spark" / "tool_cases.jsonl", encoding="utf-8") as lines:
            case = json.loads(next(lines))
        tools = [{**tool["function"], "command": "echo arrives tomorrow; cat >>calls.txt"} for tool in case["tools"]]
        path = self.folder / "tools.json"
        path.write_text(json.dumps({"tools": tools}), encoding="utf-8")
        return path, case["messages"][0]["content"], case["want"][0]

    def test_call_result_answer(self):
        path, question, wanted = self.case()
        chat = self.chat("--tools-file", path, "--tools-dir", self.folder, *NO_THINK)
        chat.line(question)
        chat.expect(wanted["name"] + ": ")
        chat.expect("run it?")
        chat.send("y")
        chat.prompt()
        self.assertEqual(json.loads((self.folder / "calls.txt").read_text()), wanted["arguments"])
        messages = self.transcripts()[0]["messages"]
        self.assertEqual([message["role"] for message in messages], ["user", "assistant", "tool", "assistant"])
        self.assertEqual(messages[2]["content"], "arrives tomorrow\nexit code: 0")
        self.assertNotEqual(messages[3]["content"], "")

    def test_through_a_pipe_with_yes(self):
        path, question, wanted = self.case()
        run = flashmoe("chat", "--tools-file", path, "--tools-dir", self.folder, "--yes", *NO_THINK,
                       stdin=question.encode() + b"\n")
        self.assert_done(run)
        self.assertEqual(json.loads((self.folder / "calls.txt").read_text()), wanted["arguments"])
        self.assertIn("call: " + wanted["name"], run.err)
        self.assertNotEqual(run.out.strip(), "")


class Pipes(ChatCase):
    def test_one_line_is_what_run_answers(self):
        run = flashmoe("chat", *NO_THINK, stdin=QUESTION.encode())
        self.assert_done(run)
        self.assertEqual(run.out, self.ask("-p", QUESTION, *NO_THINK))
        self.assertNotIn("\x1b", run.out + run.err)

    def test_what_keeps_nothing_needs_no_home(self):
        homeless = {name: value for name, value in self.environment.items() if name not in ("HOME", "XDG_DATA_HOME")}
        self.assertNotEqual(self.assert_done(flashmoe("chat", "-n", 4, *NO_THINK, stdin=b"Hello\n", env=homeless)).out, "")
        self.assert_fails(flashmoe("chat", "--resume", "last", stdin=b"Hello\n", env=homeless), 2, "HOME", "--no-save")
        run = self.assert_done(flashmoe("chat", "-n", 4, *NO_THINK, stdin=b"/sessions\n", env=homeless))
        self.assertIn("no chats are kept: neither HOME nor XDG_DATA_HOME names a folder\n", run.err)

    def test_thoughts_without_an_answer_are_told(self):
        run = self.assert_done(flashmoe("chat", "-n", 5, stdin=b"hi\n"))
        self.assertEqual(run.out, "")
        self.assertEqual(run.err, "flashmoe: note: there is no answer: the limit of tokens was reached while it was thinking\n")

    def test_a_prompt_that_leaves_no_room_for_an_answer(self):
        n = len(flashmoe("tokenize", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n").out.split())
        for too_few in (n - 1, n):
            run = flashmoe("chat", "--ctx", too_few, *NO_THINK, stdin=b"hi\n")
            self.assert_fails(run, 1, f"{n} tokens and an answer needs one more", f"holds {too_few}")
        self.assertNotEqual(self.assert_done(flashmoe("chat", "--ctx", n + 1, *NO_THINK, stdin=b"hi\n")).out, "")

    def test_commands_and_nothing_kept(self):
        run = flashmoe("chat", "-n", 4, *NO_THINK, stdin=b"/help\nHello\n/new\nHello\n/quit\nnever\n",
                       env={**self.environment, "PATH": "/usr/bin:/bin"})
        self.assert_done(run)
        answers = run.out.partition("/quit")[2].split("\n", 1)[1].strip().split("\n\n")
        self.assertEqual(len(answers), 2, run.out)
        self.assertEqual(answers[0], answers[1])
        self.assertFalse(self.chats.exists())

    def test_wrong_usage(self):
        for arguments, parts in ((["--tools-seconds", "0"], ["--tools-seconds"]), (["--stop", ""], ["--stop"]),
                                 (["--tools-dir", "none", "--tools", "--yes"], ["none"]), (["--api-key", "x"], ["--api-key"]),
                                 (["--yes"], ["--yes", "--tools"]), (["--tools-rounds", "3"], ["--tools-rounds", "--tools-file"]),
                                 (["--no-sessions", "--sessions-size", "1G"], ["--sessions-size"]), (["--resume", ""], ["a chat"])):
            self.assert_fails(flashmoe("chat", *arguments, stdin=b"x\n"), 2, *parts)
        self.assert_fails(flashmoe("chat", "-m", "none.gguf", stdin=b"x\n"), 1, "none.gguf")


if __name__ == "__main__":
    unittest.main()
