"""--chat-template: prompts as a file writes them, and templates that want other requests than clients send."""
import json
import unittest

from flashmoe_cli import Case, flashmoe
from flashmoe_server import Server

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
ANSWER = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
THINKS = "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{{ '' }}{% endif %}"
TELLS = "{{ raise_exception(reasoning_effort ~ '|' ~ note) }}"
HI = [{"role": "user", "content": "Hi"}]


class ChatTemplate(Case):
    def template(self, text):
        path = self.folder / "chat.jinja"
        path.write_text(text, encoding="utf-8")
        return path

    def serve(self, template):
        server = Server("--threads", 2, "--chat-template", self.template(template))
        self.addCleanup(server.stop)
        return server

    def test_a_file_takes_the_place_of_the_models_own(self):
        path = self.template("{{ raise_exception('I said: ' ~ messages[-1].content) }}")
        run = flashmoe("run", "-p", "Hi", "--chat-template", path)
        self.assertEqual(run.code, 1)
        self.assertIn("chat template, line 1: I said: Hi", run.err)
        self.assert_done(flashmoe("run", "-p", "Hi", "-n", "1", "--chat-template", self.template(TURNS + ANSWER)))
        missing = flashmoe("run", "-p", "Hi", "--chat-template", self.folder / "none.jinja")
        self.assertEqual(missing.code, 1)
        self.assertIn("none.jinja: no chat template can be read there", missing.err)

    def test_one_that_does_not_parse_is_told_and_plain_text_goes_on(self):
        path = self.template("{% x %}")
        run = flashmoe("run", "-p", "Hi", "--chat-template", path)
        self.assertEqual(run.code, 1)
        self.assertTrue(run.err.splitlines()[-1].startswith("flashmoe: chat template, line 1: the tag 'x'"), run.err)
        server = self.serve("{% x %}")
        self.assertIn("chat template, line 1: the tag 'x'", "".join(server.lines))
        self.assertEqual(server.post("/v1/chat/completions", {"messages": HI})[0], 400)
        self.assertEqual(server.post("/v1/completions", {"prompt": "Hi", "max_tokens": 1})[0], 200)

    def test_thinking_is_off_where_the_template_always_opens_it(self):
        server = self.serve(TURNS + THINKS)
        ask = {"messages": HI, "max_tokens": 200, "temperature": 0}
        _, thinks = server.post("/v1/chat/completions", ask)
        self.assertTrue(thinks["choices"][0]["message"].get("reasoning_content"))
        _, off = server.post("/v1/chat/completions", {**ask, "reasoning_effort": "none"})
        self.assertFalse(off["choices"][0]["message"].get("reasoning_content"))
        self.assertTrue(off["choices"][0]["message"]["content"])
        _, messages = server.post("/v1/messages", ask)
        self.assertEqual([block["type"] for block in messages["content"]], ["text"])
        _, response = server.post("/v1/responses", {"input": HI, "max_output_tokens": 200, "reasoning": {"effort": "none"}})
        self.assertEqual([item["type"] for item in response["output"]], ["message"])

    def test_what_is_for_the_template_reaches_it(self):
        server = self.serve(TELLS)
        more = {"chat_template_kwargs": {"note": "n"}}
        for path, body in (("/v1/chat/completions", {"messages": HI, "reasoning_effort": "low"}),
                           ("/v1/responses", {"input": "Hi", "reasoning": {"effort": "low"}}),
                           ("/v1/messages", {"messages": HI, "max_tokens": 1, "thinking": {"type": "adaptive"},
                                             "output_config": {"effort": "low"}})):
            status, answer = server.post(path, {**body, **more})
            self.assertEqual(status, 400)
            self.assertIn("low|n", answer["error"]["message"], path)
            status, answer = server.post(path, {**body, "chat_template_kwargs": {"messages": []}})
            self.assertEqual((status, "is a field of the request itself" in json.dumps(answer)), (400, True), path)

    def test_marks_in_the_prompt_of_a_completion_are_marks(self):
        server = self.serve(TURNS + ANSWER)
        _, chat = server.post("/v1/chat/completions", {"messages": HI, "max_tokens": 8, "temperature": 0})
        prompt = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        _, plain = server.post("/v1/completions", {"prompt": prompt, "max_tokens": 8, "temperature": 0})
        self.assertEqual(plain["usage"]["prompt_tokens"], chat["usage"]["prompt_tokens"])
        self.assertEqual(plain["choices"][0]["text"], chat["choices"][0]["message"]["content"])


if __name__ == "__main__":
    unittest.main()
