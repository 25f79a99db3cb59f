"""flashmoe serve where the model's files fail or change."""
import shutil
import unittest

from flashmoe_cli import MODEL, QUESTION, Case, smallest_ram
from flashmoe_server import Server


class Served(Case):
    def test_a_file_that_changes_is_told(self):
        """Once on standard error, and by /health until the server is started again."""
        model = self.folder / "model.gguf"
        shutil.copyfile(MODEL, model)
        server = Server("-m", model, "--experts", "streamed", "--ram", f"{smallest_ram() + 64}M", "--threads", 2)
        self.addCleanup(server.stop)
        ask = lambda: server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 5})
        self.assertEqual(ask()[0], 200)
        self.assertEqual(server.get("/health")[0], 200)
        model.touch()
        for _ in range(3):
            status, answer = server.post("/v1/completions", {"prompt": "Other words need other experts. " * 20})
            self.assertEqual(status, 500, answer)
        status, health = server.get("/health")
        self.assertEqual((status, health["status"]), (503, "failing"), health)
        self.assertIn(str(model), health["error"])
        server.stop()
        told = [line for line in server.lines if "a step failed" in line]
        self.assertEqual(len(told), 1, server.lines)
        self.assertIn("written to or replaced", told[0])


if __name__ == "__main__":
    unittest.main()
