"""flashmoe chat --connect: what a broken server sends without end is refused before it fills memory."""
import unittest

from fake_chat_server import FakeChatServer, text_chunks
from flashmoe_cli import PATIENCE, Case, flashmoe


class WithoutEnd(Case):
    def chat(self, path, stdin):
        server = FakeChatServer([text_chunks("x")], endless=path)
        self.addCleanup(server.close)
        run = flashmoe("chat", "--connect", server.url, stdin=stdin)
        self.assertTrue(server.gone.wait(PATIENCE))
        return run

    def test_the_list_of_models(self):
        self.assert_fails(self.chat("/v1/models", b"q\n"), 1, "GET /v1/models", "more than 4 MiB")

    def test_statistics(self):
        run = self.assert_done(self.chat("/metrics", b"/stats\n"))
        self.assertIn("the server tells no statistics", run.out)

    def test_a_complaint(self):
        self.assert_fails(self.chat("/v1/chat/completions", b"q\n"), 1, "the server answered 500: xxx")


if __name__ == "__main__":
    unittest.main()
