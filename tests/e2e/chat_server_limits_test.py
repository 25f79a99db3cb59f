"""flashmoe chat --connect: what a broken server sends without end is refused before it fills memory."""
import unittest

from fake_chat_server import FakeChatServer, text_chunks
from flashmoe_cli import PATIENCE, Case, flashmoe

OK, WRONG = "HTTP/1.1 200 OK\r\n", "HTTP/1.1 500 Wrong\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
CHAT, MODELS, METRICS = "/v1/chat/completions", "/v1/models", "/metrics"


class WithoutEnd(Case):
    def chat(self, path, start, stdin=b"q\n", **more):
        server = FakeChatServer([text_chunks("x")], endless=path, start=start, **more)
        self.addCleanup(server.close)
        run = flashmoe("chat", "--connect", server.url, stdin=stdin)
        self.assertTrue(server.gone.wait(PATIENCE))
        return run

    def test_the_list_of_models(self):
        for start in (OK + "\r\n", WRONG + "\r\n"):
            self.assert_fails(self.chat(MODELS, start), 1, "GET /v1/models", "more than 4 MiB")

    def test_statistics(self):
        run = self.assert_done(self.chat(METRICS, OK + "\r\n", stdin=b"/stats\n"))
        self.assertIn("the server tells no statistics", run.out)

    def test_a_complaint(self):
        self.assert_fails(self.chat(CHAT, WRONG + "\r\n"), 1, "the server answered 500: xxx")

    def test_heads(self):
        for path in (MODELS, CHAT):
            for start, piece in (("", "x" * 65536), (OK + "A: ", "x" * 65536), (OK, "A: b\r\n" * 1000)):
                self.assert_fails(self.chat(path, start, piece=piece), 1, "headers", "more than 64 KiB")

    def test_lines_between_chunks(self):
        for path in (MODELS, CHAT):
            self.assert_fails(self.chat(path, OK + CHUNKED + "\r\n5\r\n: hi\n\r\n"), 1, "more than 64 KiB")


class Chunks(Case):
    def test_chunks_of_one_byte(self):
        text = ": a comment\n\n" * 10000 + 'data: {"choices": [{"delta": {"content": "fine"}}]}\n\ndata: [DONE]\n\n'
        chunks = "".join(f"1\r\n{byte}\r\n" for byte in text)
        server = FakeChatServer([text_chunks("x")], endless=CHAT, start=OK + CHUNKED + "\r\n" + chunks, piece="0\r\n\r\n")
        self.addCleanup(server.close)
        run = self.assert_done(flashmoe("chat", "--connect", server.url, stdin=b"q\n"))
        self.assertEqual(run.out, "fine\n")


if __name__ == "__main__":
    unittest.main()
