"""flashmoe chat --connect: the terminal, tools and pipes, with a server whose answers are known."""
import json
import os
import re
import signal
import time
import unittest

from fake_chat_server import FakeChatServer, call_chunks, text_chunks
from flashmoe_cli import BINARY, PATIENCE, QUESTION, Case, flashmoe
from flashmoe_server import Server
from terminal_session import TerminalSession

ANSWER = "## Tides\n\nThe **moon** pulls the sea.\n\n- high\n- low\n"


class Connected(Case):
    def setUp(self):
        super().setUp()
        self.data = self.folder / "data"

    def serve(self, *answers, **more):
        server = FakeChatServer(answers, **more)
        self.addCleanup(server.close)
        return server

    def chat(self, server, *arguments, **more):
        session = TerminalSession([BINARY, "chat", "--connect", server.url, *arguments], XDG_DATA_HOME=str(self.data), **more)
        self.addCleanup(session.close)
        session.prompt()
        return session

    def transcripts(self):
        return [json.loads(path.read_text()) for path in sorted((self.data / "flashmoe" / "chats").glob("*.json"))]


class Typing(Connected):
    def test_an_answer_is_rendered(self):
        server = self.serve(text_chunks(ANSWER))
        chat = self.chat(server)
        chat.line("What are tides?")
        shown = chat.prompt()
        self.assertIn("\nTides\n\nThe moon pulls the sea.\n\n• high\n• low\n", shown)
        self.assertRegex(shown, r"8 tokens, [\d.,]+ tok/s, first token \d+\.\d\d s, prompt 20 \(5 known\)")
        self.assertIn("\x1b[0;1mmoon", chat.raw)
        self.assertEqual(server.requests[0]["messages"], [{"role": "user", "content": "What are tides?"}])
        self.assertTrue(server.requests[0]["stream"])
        chat.send("\x04")
        self.assertEqual(chat.end(), 0)
        self.assertIn("\x1b[?2004l", chat.raw)

    def test_editing_and_history(self):
        server = self.serve(text_chunks("ok"))
        chat = self.chat(server)
        chat.send("wrold\x1b[D\x1b[D\x1b[D\x1b[D\x7f")  # left four times, and the w goes
        chat.send("W\x05!")
        chat.line("")
        chat.prompt()
        chat.send("\x1b[A")  # up
        chat.line("?")
        chat.prompt()
        self.assertEqual([request["messages"][-1]["content"] for request in server.requests], ["Wrold!", "Wrold!?"])
        chat.line("/quit")
        self.assertEqual(chat.end(), 0)
        again = self.chat(server)
        again.send("\x1b[A\x1b[A")  # /quit, then the question
        again.line("")
        again.prompt()
        self.assertEqual(server.requests[-1]["messages"][-1]["content"], "Wrold!?")

    def test_keys_with_modifiers_and_keys_that_mean_nothing(self):
        server = self.serve(text_chunks("ok"))
        chat = self.chat(server)
        sent = [("one two\x1b[1;5DX", "one Xtwo"), ("one two\x1b[1;5D\x1b[1;5D\x1b[1;5CX", "oneX two"),
                ("one two\x1b[1;5HX", "Xone two"), ("one two\x01\x1b[1;5FX", "one twoX"), ("one two\x01\x1b[3;5~X", "X two"),
                ("one\x1b[DX", "onXe"), ("two\x1b\x1b[DX", "twXo"), ("one\x1b\xe4four", "onefour"),
                ("\x12four\x1b[HX", "Xonefour"), ("\x12Xone\x1b\x1b[DY", "YXonefour"), ("\x12YX\x1bz", "zYXonefour")]
        sent += [(f"a\x1b{key}b", "ab") for key in ("[15~", "OP", "[[E", "[Z", "[97;5u", "[<0;10;10M", "[3^", "[9\\", "O5P", "[9~\x1bOQ",
                                                    "\x1b[1;5Q", "[1\x1b[15~", "[999999999~", "[" + "1;" * 200 + "z")]
        for typed, question in sent:
            chat.line(typed)
            chat.expect("first token")
            chat.prompt()
            self.assertEqual(server.requests[-1]["messages"][-1]["content"], question, ascii(typed))

    def test_pasted_lines_are_one_question(self):
        server = self.serve(text_chunks("ok"))
        chat = self.chat(server)
        chat.send("\x1b[200~def f(x):\r\tif x:\r\n\t\treturn 1\x1b[201~")
        chat.send("\r")
        chat.prompt()
        self.assertEqual(len(server.requests), 1)
        self.assertEqual(server.requests[0]["messages"][0]["content"], "def f(x):\n    if x:\n        return 1")

    def test_a_paste_cannot_type(self):
        server = self.serve(text_chunks("ok"))
        chat = self.chat(server)
        chat.send("\x1b[200~a\x03\x04\x1b[Db\x07\x1b[201~")
        chat.send("\r")
        chat.prompt()
        self.assertEqual(server.requests[0]["messages"][0]["content"], "a[Db")

    def test_a_long_paste_arrives_whole(self):
        server = self.serve(text_chunks("ok"))
        chat = self.chat(server)
        text = "\n".join(f"line {number} of a long paste, ä and 日本" for number in range(200))
        chat.send("\x1b[200~" + text[:2000])
        chat.send(text[2000:4000])
        for at in range(4000, len(text), 1000):
            chat.send(text[at:at + 1000])
            chat._read(0.05)
        chat.send("\x1b[201~")
        chat.send("\r")
        chat.prompt(30)
        self.assertEqual(server.requests[0]["messages"][0]["content"], text)

    def test_alt_enter_makes_a_line(self):
        server = self.serve(text_chunks("ok"))
        chat = self.chat(server)
        chat.send("one\x1b\rtwo")
        chat.line("")
        chat.prompt()
        self.assertEqual(server.requests[0]["messages"][0]["content"], "one\ntwo")

    def test_completion(self):
        server = self.serve(text_chunks("ok"))
        chat = self.chat(server)
        chat.send("/hel\t\r")
        self.assertIn("/sessions", chat.prompt())
        chat.send("/s\t")
        chat.expect(re.compile(r"/save +/sessions +/stats +/system"))
        chat.send("ys\t")
        chat.line("Be brief.")
        self.assertIn("system: Be brief.", chat.prompt())
        narrow = self.chat(server, columns=24)
        narrow.send("/s\t")
        narrow.expect("/save  /sessions\n/stats  /system\n")

    def test_control_c_clears_then_quits(self):
        chat = self.chat(self.serve(text_chunks("ok")))
        chat.send("half a line")
        chat.expect("half a line")
        chat.interrupt()
        chat.expect("^C")
        chat.prompt()
        chat.interrupt()
        self.assertEqual(chat.end(), 0)

    def test_control_c_keeps_what_came(self):
        server = self.serve(text_chunks("word " * 2000), text_chunks("second"), pause=0.02)
        chat = self.chat(server)
        chat.line("Go on.")
        chat.expect("word word word")
        chat.interrupt()
        self.assertIn("interrupted", chat.prompt(10))
        self.assertTrue(server.gone.wait(PATIENCE))
        chat.line("And?")
        chat.prompt()
        messages = server.requests[1]["messages"]
        self.assertEqual([message["role"] for message in messages], ["user", "assistant", "user"])
        self.assertTrue(messages[1]["content"].startswith("word word"))
        self.assertEqual(len(self.transcripts()[0]["messages"]), 4)

    def test_what_is_typed_meanwhile_waits(self):
        server = self.serve(text_chunks("slow answer " * 3), text_chunks("second"), pause=0.1)
        chat = self.chat(server)
        chat.line("one")
        chat.expect("slow")
        chat.line("two")
        first = chat.expect("tok/s")
        self.assertNotIn("two", first)
        chat.expect("second")
        self.assertEqual(server.requests[1]["messages"][-1]["content"], "two")

    def test_narrow_and_resized(self):
        server = self.serve(text_chunks("The quick brown fox jumps over the lazy dog near the river bank."))
        chat = self.chat(server, columns=40)
        chat.line("x")
        for line in chat.prompt().splitlines():
            self.assertLessEqual(len(line), 40)
        chat.resize(30, 24)
        chat.line("y")
        self.assertIn("\nThe quick brown fox jumps\nover the lazy dog near the\nriver bank.\n", chat.prompt())

    def test_a_question_is_drawn_anew_when_the_terminal_is_resized(self):
        chat = self.chat(self.serve(text_chunks("ok")), columns=40)
        chat.send("a question of some thirty columns")
        chat.expect("columns")
        chat.resize(24, 24)
        chat.expect("> a question of some")
        chat.expect("columns")
        before = chat.raw
        os.kill(chat.pid, signal.SIGWINCH)  # of the size that is drawn, as when the signal comes late
        time.sleep(0.5)
        chat._read(0)
        self.assertEqual(chat.raw, before)
        chat.line("")
        chat.prompt()

    def test_text_cannot_steer_the_terminal(self):
        server = self.serve(text_chunks("a \x1b[2J b \x1b]0;title\x07 c \u009b3A"))
        chat = self.chat(server)
        chat.line("x")
        shown = chat.prompt()
        self.assertIn(r"a \x1b[2J b \x1b]0;title\x07 c \x9b3A", shown)
        self.assertNotIn("\x1b[2J", chat.raw)

    def test_thoughts(self):
        thinking = [{"choices": [{"delta": {"reasoning_content": "let me see\nwell"}}]}]
        server = self.serve(thinking + text_chunks("answer"))
        chat = self.chat(server)
        chat.line("x")
        self.assertNotIn("let me see", chat.prompt())
        chat.line("/think show")
        chat.prompt()
        chat.line("y")
        self.assertIn("let me see\nwell\n\nanswer", chat.prompt())
        self.assertIn("\x1b[0;2mlet me see", chat.raw)
        self.assertEqual(server.requests[1]["messages"][1]["reasoning_content"], "let me see\nwell")

    def test_thoughts_before_a_call_stay(self):
        thinking = [{"choices": [{"delta": {"reasoning_content": "I will look"}}]}]
        server = self.serve(thinking + call_chunks("bash", {"command": "echo"}), text_chunks("done"))
        chat = self.chat(server, "--show-think")
        chat.line("x")
        self.assertIn("I will look\n\ncalling bash", chat.prompt())  # what is told of a call is drawn over, the thought is not

    def test_the_footer_breaks_between_its_parts(self):
        server = self.serve(text_chunks("done"))
        for columns, expected in ((80, "8 tokens, first token 0.00 s, prompt 20 (5 known)\n"),
                                  (40, "8 tokens, first token 0.00 s,\nprompt 20 (5 known)\n")):
            chat = self.chat(server, columns=columns)
            chat.line("x")
            self.assertIn(expected, re.sub(r"token [\d.]+ s", "token 0.00 s", chat.prompt()))

    def test_failures_are_told_and_the_chat_goes_on(self):
        server = self.serve((503, '{"error": {"message": "too busy"}}'),
                            [{"choices": [{"delta": {"content": "half"}}]}], ["data: {broken\n\n"], text_chunks("fine"))
        chat = self.chat(server)
        for expected in ("error: the server answered 503: too busy", "middle of the answer", "not JSON", "fine"):
            chat.line("x")
            self.assertIn(expected, re.sub(r"\s+", " ", chat.prompt()))
        self.assertEqual(server.requests[3]["messages"], [{"role": "user", "content": "x"}])


class Tools(Connected):
    def test_calls_are_confirmed(self):
        (self.folder / "work").mkdir()
        server = self.serve(call_chunks("bash", {"command": "echo $((6*7)) > made; cat made"}), text_chunks("It is 42."))
        chat = self.chat(server, "--tools", "--tools-dir", self.folder / "work")
        chat.line("Compute.")
        chat.expect("bash: echo $((6*7))")
        chat.expect("run it? y: yes, n: no, a: always (this very call)")
        self.assertFalse((self.folder / "work" / "made").exists())
        chat.send("y")
        shown = chat.prompt()
        self.assertIn("42\n  exit code: 0", shown)
        self.assertIn("It is 42.", shown)
        self.assertEqual(server.requests[1]["messages"][-1]["content"], "42\nexit code: 0")
        self.assertEqual({tool["function"]["name"] for tool in server.requests[0]["tools"]},
                         {"bash", "read_file", "write_file", "list_dir"})

    def test_refusing_and_stopping(self):
        server = self.serve(call_chunks("bash", {"command": "touch made"}), text_chunks("Then not."))
        chat = self.chat(server, "--tools", "--tools-dir", self.folder)
        chat.line("Do it.")
        chat.expect("run it?")
        chat.send("q\x1bn")  # keys that mean nothing, then no
        self.assertIn("Then not.", chat.prompt())
        self.assertIn("refused", server.requests[1]["messages"][-1]["content"])
        self.assertFalse((self.folder / "made").exists())

    def test_a_stopped_call(self):
        server = self.serve(call_chunks("bash", {"command": "echo begun; touch started; sleep 60"}), text_chunks("next"))
        chat = self.chat(server, "--tools", "--tools-dir", self.folder)
        chat.line("Do it.")
        chat.expect("run it?")
        chat.send("y")
        chat.expect("running bash")
        started = self.folder / "started"
        until = time.monotonic() + PATIENCE
        while not started.exists() and time.monotonic() < until:
            time.sleep(0.05)
        chat.interrupt()
        chat.prompt(10)
        self.assertEqual(self.transcripts()[0]["messages"][-1]["content"], "begun\nstopped by the user")

    def test_without_a_terminal_calls_need_yes(self):
        server = self.serve(call_chunks("bash", {"command": "echo hi"}), text_chunks("It says hi."))
        run = flashmoe("chat", "--connect", server.url, "--tools", stdin=b"x\n")
        self.assert_fails(run, 2, "--tools", "--yes")
        run = flashmoe("chat", "--connect", server.url, "--tools", "--yes", stdin=b"x\n", cwd=self.folder)
        self.assertEqual((run.code, run.out), (0, "It says hi.\n"))
        self.assertEqual(server.requests[1]["messages"][-1]["content"], "hi\nexit code: 0")

    def test_tools_of_a_file(self):
        path = self.folder / "tools.json"
        path.write_text(json.dumps({"tools": [{"name": "shout", "command": ["tr", "a-z", "A-Z"]}]}))
        server = self.serve(call_chunks("shout", {"text": "hey"}), text_chunks("done"))
        run = flashmoe("chat", "--connect", server.url, "--tools-file", path, "--yes", stdin=b"x\n")
        self.assert_done(run)
        self.assertEqual(server.requests[1]["messages"][-1]["content"], '{"TEXT": "HEY"}\nexit code: 0')
        self.assertEqual(len(server.requests[0]["tools"]), 1)
        path.write_text("{}")
        self.assert_fails(flashmoe("chat", "--connect", server.url, "--tools-file", path, "--yes"), 1, path, "tools")


class Pipes(Connected):
    def test_each_line_is_a_turn(self):
        server = self.serve(text_chunks("**one**"), text_chunks("two"))
        run = flashmoe("chat", "--connect", server.url, stdin=b"first\n\nsecond")
        self.assertEqual((run.code, run.out, run.err), (0, "**one**\n\ntwo\n", ""))
        self.assertEqual([message["content"] for message in server.requests[1]["messages"]],
                         ["first", "**one**", "second"])

    def test_options_reach_the_server(self):
        server = self.serve(text_chunks("x"))
        self.assert_done(flashmoe("chat", "--connect", server.url + "/v1/", "--system", "S", "--no-think", "--temp", "0.5",
                                  "--top-k", 3, "--seed", 9, "-n", 4, "--stop", "END", stdin=b"q\n"))
        request = server.requests[0]
        self.assertEqual(request["messages"][0], {"role": "system", "content": "S"})
        for field, value in {"temperature": 0.5, "top_k": 3, "seed": 9, "max_tokens": 4, "stop": ["END"],
                             "enable_thinking": False, "model": "fake-model"}.items():
            self.assertEqual(request[field], value, field)

    def test_keys(self):
        server = self.serve(text_chunks("x"), key="secret")
        self.assert_fails(flashmoe("chat", "--connect", server.url, stdin=b"q\n"), 1, "wants a key", "--api-key")
        self.assert_done(flashmoe("chat", "--connect", server.url, "--api-key", "secret", stdin=b"q\n"))

    def test_wrong_urls_and_nobody_there(self):
        for url in ("localhost:1", "http://", "ftp://x", "http://a b", "http://a:", "http://a:b", "http://a:70000", "http://:1",
                    "http://[::1", "http://[::1]x"):
            self.assert_fails(flashmoe("chat", "--connect", url, stdin=b"q\n"), 2, "--connect", url)
        self.assert_fails(flashmoe("chat", "--connect", "https://x", stdin=b"q\n"), 2, "https://x", "tunnel")
        self.assert_fails(flashmoe("chat", "--connect", "http://127.0.0.1:9", stdin=b"q\n"), 1, "127.0.0.1:9", "flashmoe serve")

    def test_engine_options_have_no_meaning(self):
        for option, value in (("--ram", "8G"), ("--model", "x"), ("--threads", "2")):
            self.assert_fails(flashmoe("chat", "--connect", "http://x", option, value, stdin=b"q\n"), 2, option, "--connect")

    def test_a_failure_ends_with_its_code(self):
        server = self.serve(text_chunks("one"), (500, '{"error": "broken"}'))
        run = flashmoe("chat", "--connect", server.url, stdin=b"a\nb\nc\n")
        self.assertEqual((run.code, run.out), (1, "one\n\n"))
        self.assertIn("the server answered 500: broken", run.err)
        self.assertEqual(len(server.requests), 2)


class RealServer(Connected):
    """The built-in model, served."""

    def setUp(self):
        super().setUp()
        self.server = Server("--threads", 2, "--api-key", "secret")
        self.addCleanup(self.server.stop)

    def test_a_pipe_has_the_answer_of_run(self):
        run = flashmoe("chat", "--connect", self.server.url, "--api-key", "secret", "--no-think", stdin=QUESTION.encode())
        self.assert_done(run)
        self.assertEqual(run.out, self.ask("-p", QUESTION, "--no-think"))
        self.assert_fails(flashmoe("chat", "--connect", self.server.url, "--api-key", "wrong", stdin=b"x\n"), 1, "another key")

    def test_two_turns_and_a_tool(self):
        tools = self.folder / "tools.json"
        tools.write_text(json.dumps({"tools": [{
            "name": "close_order", "description": "Use this to close an order.", "command": "cat > call.json; echo closed",
            "parameters": {"type": "object", "properties": {"id": {"type": "string", "description": "Id of the order"}}, "required": ["id"]}}]}))
        chat = self.chat(self.server, "--no-think", "--api-key", "secret", "--tools-file", tools, "--tools-dir", self.folder, "--yes")
        chat.line("Close order BB668296004UL.")
        chat.prompt(60)
        self.assertEqual(json.loads((self.folder / "call.json").read_text()), {"id": "BB668296004UL"})
        chat.line("Thank you. What is a monsoon?")
        self.assertRegex(chat.prompt(60), r"prompt [\d,]+\s+\([1-9][\d,]*\s+known\)")
        chat.line("/stats")
        self.assertIn("hit", chat.prompt())
        chat.line("/quit")
        self.assertEqual(chat.end(), 0)
        roles = [message["role"] for message in self.transcripts()[0]["messages"]]
        self.assertEqual(roles, ["user", "assistant", "tool", "assistant", "user", "assistant"])

    def test_the_server_goes_away(self):
        chat = self.chat(self.server, "--api-key", "secret")
        chat.line("Count to ten thousand.")
        chat.expect(re.compile("thinking|reading|[Cc]ount"))
        self.server.process.kill()
        shown = chat.prompt(30)
        self.assertRegex(shown, "error|answer|server")
        chat.line("Hello?")
        self.assertRegex(chat.prompt(30).replace("\n", " "), "error: no answer from .*cannot connect")
        chat.line("/quit")
        self.assertEqual(chat.end(), 0)


if __name__ == "__main__":
    unittest.main()
