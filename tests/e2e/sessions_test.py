"""What was read outlives the process: serve and chat go on with the same text, and nothing on disk changes it."""
import json
import re
import stat
import time
import unittest

from flashmoe_cli import BINARY, PATIENCE, Case, flashmoe
from flashmoe_server import Server
from terminal_session import TerminalSession

STORY = "Once upon a time there was a lighthouse keeper who counted the ships that passed in the night. " * 12
TURNS = ["Remember this story: " + STORY, "Who counted the ships?", "And when?"]


class SessionsCase(Case):
    def setUp(self):
        super().setUp()
        self.sessions = self.folder / "sessions"

    def serve(self, *arguments):
        server = Server("--threads", 2, *arguments)
        self.addCleanup(server.stop)
        return server

    def answer(self, server, n_turns, history):
        """Asks for the answer to the first `n_turns` turns: (text, tokens known from before)."""
        messages = []
        for i in range(n_turns):
            messages.append({"role": "user", "content": TURNS[i]})
            if i < n_turns - 1:
                messages.append({"role": "assistant", "content": history[i]})
        status, answer = server.post("/v1/chat/completions", {"messages": messages, "temperature": 0, "max_tokens": 30,
                                                              "reasoning_effort": "none"})
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]["message"]["content"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    def files(self):
        return sorted(path for path in self.sessions.iterdir() if path.suffix in (".kv", ".state"))

    def wait_for_files(self, n=2):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and (not self.sessions.exists() or len(self.files()) < n):
            time.sleep(0.05)
        self.assertGreaterEqual(len(self.files()), n)


class Serving(SessionsCase):
    def setUp(self):
        super().setUp()
        server = self.serve()
        self.fresh = []
        for n in (1, 2, 3):  # of a server that keeps nothing on disk
            self.fresh.append(self.answer(server, n, self.fresh)[0])
        server.stop()

    def first_turn(self, *arguments):
        server = self.serve("--sessions", self.sessions, *arguments)
        text, cached = self.answer(server, 1, [])
        self.assertEqual((text, cached), (self.fresh[0], 0))
        return server

    def test_a_restart_goes_on(self):
        self.assertEqual(self.first_turn().stop(), 0)
        self.assertEqual(stat.S_IMODE(self.sessions.stat().st_mode), 0o700)
        server = self.serve("--sessions", self.sessions)
        text, cached = self.answer(server, 2, self.fresh)
        self.assertEqual(text, self.fresh[1])
        self.assertGreater(cached, 200)
        self.assertEqual(self.answer(server, 3, self.fresh)[0], self.fresh[2])
        _, _, metrics = server.ask("GET", "/metrics")
        self.assertGreater(float(re.search(rb"^flashmoe_session_files (\S+)", metrics, re.M).group(1)), 1)

    def test_a_killed_server_has_kept_what_it_read(self):
        server = self.first_turn()
        self.wait_for_files()
        server.process.kill()
        server.process.wait()
        text, cached = self.answer(self.serve("--sessions", self.sessions), 2, self.fresh)
        self.assertEqual(text, self.fresh[1])
        self.assertGreater(cached, 200)

    def test_damaged_and_foreign_files_never_change_the_text(self):
        self.first_turn().stop()
        for i, path in enumerate(self.files()):
            data = bytearray(path.read_bytes())
            if i % 2:
                data = data[:len(data) // 2]
            else:
                data[-1 - i] ^= 8
            path.write_bytes(data)
        (self.sessions / "notes.txt").write_text("mine")
        server = self.serve("--sessions", self.sessions)
        self.assertEqual(self.answer(server, 2, self.fresh)[0], self.fresh[1])
        time.sleep(0.3)
        server.stop()
        told = [line for line in server.lines if "is damaged" in line]
        self.assertGreaterEqual(len(told), 1, server.lines)
        self.assertTrue(all(line.startswith("flashmoe: note: ") for line in told))
        self.assertEqual((self.sessions / "notes.txt").read_text(), "mine")

    def test_another_arithmetic_is_another_model(self):
        self.first_turn().stop()
        server = self.serve("--sessions", self.sessions, "--kernels", "scalar")
        self.assertEqual(self.answer(server, 1, [])[1], 0)

    def test_the_size_is_kept(self):
        server = self.serve("--sessions", self.sessions, "--sessions-size", "3M")
        self.answer(server, 1, [])
        self.answer(server, 2, self.fresh)
        self.answer(server, 3, self.fresh)
        server.stop()
        self.assertLessEqual(sum(path.stat().st_size for path in self.files()), 3 << 20)

    def test_a_folder_that_cannot_be(self):
        (self.folder / "file").write_text("x")
        run = flashmoe("serve", "--port", 0, "--sessions", self.folder / "file" / "in")
        self.assertEqual(run.code, 1, run.err)
        self.assertIn("sessions", run.err)


class Chatting(SessionsCase):
    def chat(self, *arguments):
        session = TerminalSession([BINARY, "chat", "--no-think", "-n", "20", *arguments], XDG_DATA_HOME=str(self.folder / "data"))
        self.addCleanup(session.close)
        session.prompt()
        return session

    def quit(self, chat):
        chat.line("/quit")
        self.assertEqual(chat.end(), 0)

    def known(self, shown):
        return int(re.search(r"\(([\d,]+)\s+known\)", shown).group(1).replace(",", ""))

    def conversation(self, *arguments):
        """The texts of two answers, the second after a restart, and how much of its prompt was known."""
        chat = self.chat(*arguments)
        chat.line(TURNS[0][:700])
        chat.prompt()
        self.quit(chat)
        chat = self.chat(*arguments)
        chat.line("/resume")
        chat.prompt()
        chat.line(TURNS[1])
        known = self.known(chat.prompt())
        self.quit(chat)
        path, = (self.folder / "data" / "flashmoe" / "chats").glob("*.json")
        messages = json.loads(path.read_text())["messages"]
        path.unlink()
        return [message["content"] for message in messages], known

    def test_resume_after_a_restart(self):
        self.sessions = self.folder / "data" / "flashmoe" / "sessions"
        kept, known = self.conversation()
        self.assertGreater(known, 60)
        self.assertGreaterEqual(len(self.files()), 2)
        again, known_again = self.conversation("--no-sessions")
        self.assertEqual((again, known_again), (kept, 0))

    def test_wrong_usage(self):
        for arguments in (["--no-save", "--sessions", "x"], ["--no-sessions", "--sessions", "x"], ["--sessions-size", "0"],
                          ["--connect", "http://127.0.0.1:1", "--sessions", "x"]):
            self.assert_fails(flashmoe("chat", *arguments, stdin=b"x\n"), 2, "--sessions" if "--connect" in arguments else "")


if __name__ == "__main__":
    unittest.main()
