"""Calls of tools go through a client's JSON and back, and the next prompt still begins with what was sampled."""
import json
import re
import time
import unittest

from flashmoe_cli import PATIENCE, SOURCE_DIR, Case
from flashmoe_server import Server

SCHEMA = {"type": "object", "properties": {"x": {"type": "number"}, "at": {"type": "object", "properties": {
    "b": {"type": "number"}, "a": {"type": "boolean"}}, "required": ["b", "a"], "additionalProperties": False}},
          "required": ["x", "at"]}
ASK = "Move it, please."
N_SEEDS = 6


def rewritten(value):
    """As JavaScript has it: 1.0 is 1; keys in another order."""
    if isinstance(value, dict):
        return {key: rewritten(value[key]) for key in sorted(value)}
    return int(value) if isinstance(value, float) and value.is_integer() else value


class OpenAiChat:
    PATH = "/v1/chat/completions"
    STREAM = {"stream_options": {"include_usage": True}}

    def begin(self, seed):
        return {"messages": [{"role": "user", "content": ASK}], "seed": seed, "temperature": 1.5, "max_tokens": 200,
                "reasoning_effort": "none", "tool_choice": "required", "parallel_tool_calls": False,
                "tools": [{"type": "function", "function": {"name": "move", "parameters": SCHEMA}}]}

    def collect(self, events):
        call = {"function": {"name": "", "arguments": ""}}
        for _, event in events:
            for choice in event["choices"] if event != "[DONE]" else []:
                for part in choice["delta"].get("tool_calls", []):
                    call["id"] = part.get("id", call.get("id"))
                    call["function"]["name"] += part["function"].get("name", "")
                    call["function"]["arguments"] += part["function"].get("arguments", "")
        return {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [{"type": "function", **call}]}}],
                "usage": [event for _, event in events if event != "[DONE]"][-1]["usage"]}

    def go_on(self, body, answer):
        message = answer["choices"][0]["message"]
        function = message["tool_calls"][0]["function"]
        arguments = json.loads(function["arguments"])
        function["arguments"] = json.dumps(rewritten(arguments), separators=(",", ":"))
        result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "done"}
        return {**body, "messages": [*body["messages"], message, result], "tool_choice": "auto", "max_tokens": 1}

    def usage(self, answer):
        """(tokens of the prompt, of them known before, of the answer)"""
        usage = answer["usage"]
        return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"], usage["completion_tokens"]


class OpenAiResponses:
    PATH = "/v1/responses"
    STREAM = {}

    def begin(self, seed):
        return {"input": [{"role": "user", "content": ASK}], "seed": seed, "temperature": 1.5, "max_output_tokens": 200,
                "reasoning": {"effort": "none"}, "tool_choice": "required", "parallel_tool_calls": False,
                "tools": [{"type": "function", "name": "move", "parameters": SCHEMA}]}

    def collect(self, events):
        return events[-1][1]["response"]

    def go_on(self, body, answer):
        call = next(item for item in answer["output"] if item["type"] == "function_call")
        arguments = json.loads(call["arguments"])
        call["arguments"] = json.dumps(rewritten(arguments))
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "done"}
        return {**body, "input": [*body["input"], *answer["output"], result], "tool_choice": "auto", "max_output_tokens": 1}

    def usage(self, answer):
        usage = answer["usage"]
        return usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"], usage["output_tokens"]


class Anthropic:
    PATH = "/v1/messages"
    STREAM = {}

    def begin(self, seed):
        return {"messages": [{"role": "user", "content": ASK}], "seed": seed, "temperature": 1.0, "max_tokens": 200,
                "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
                "tools": [{"name": "move", "input_schema": SCHEMA}]}

    def collect(self, events):
        blocks, usage = [], {}
        for name, event in events:
            if name == "message_start":
                usage = event["message"]["usage"]
            if name == "message_delta":
                usage = {**usage, **event["usage"]}
            if name == "content_block_start":
                blocks.append({**event["content_block"], "text_so_far": ""})
            if name == "content_block_delta":
                blocks[-1]["text_so_far"] += event["delta"].get("partial_json", "")
        uses = [block for block in blocks if block["type"] == "tool_use"]
        content = [{"type": "tool_use", "id": use["id"], "name": use["name"], "input": json.loads(use["text_so_far"])} for use in uses]
        return {"content": content, "usage": usage}

    def go_on(self, body, answer):
        use = answer["content"][-1]
        arguments = use["input"]
        use["input"] = rewritten(arguments)
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use["id"], "content": "done"}]}
        messages = [*body["messages"], {"role": "assistant", "content": [use]}, result]
        return {**body, "messages": messages, "tool_choice": {"type": "auto"}, "max_tokens": 1}

    def usage(self, answer):
        usage = answer["usage"]
        cached = usage["cache_read_input_tokens"]
        return usage["input_tokens"] + cached, cached, usage["output_tokens"]


class SampledCalls(Case):
    def serve(self, *arguments):
        server = Server("--threads", 2, *arguments)
        self.addCleanup(server.stop)
        return server

    def settled(self, server):
        _, _, body = server.ask("GET", "/metrics")
        return float(re.search(rb"^flashmoe_settled_tokens_total (\S+)", body, re.M).group(1))

    def ask(self, server, api, body):
        status, answer = server.post(api.PATH, body)
        self.assertEqual(status, 200, answer)
        return answer

    def first(self, server, api, seed, stream):
        """(what comes next, tokens of prompt and answer), once the answer was read as history, the only one that waits."""
        before = self.settled(server)
        body = api.begin(seed)
        answer = api.collect(server.events(api.PATH, {**body, **api.STREAM})) if stream else self.ask(server, api, body)
        prompt, _, n = api.usage(answer)
        deadline = time.monotonic() + PATIENCE
        while self.settled(server) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        return api.go_on(body, answer), prompt + n

    def assert_known(self, server, api, following, said):
        prompt, cached, _ = api.usage(self.ask(server, api, following))
        # What an answer opens with is another thing in history: a few tokens of the sum.
        self.assertGreaterEqual(cached, said - 8)
        return prompt

    def through(self, api):
        nexts = []
        for seed in range(N_SEEDS):
            server = self.serve()  # where no other answer waits to be read
            following, said = self.first(server, api, seed, stream=seed % 2 == 1)
            nexts.append((following, self.assert_known(server, api, following, said)))
        # In the template's words at least one of them has other tokens, so the above means something.
        other = self.serve()
        self.assertTrue(any(api.usage(self.ask(other, api, following))[0] != prompt for following, prompt in nexts))

    def test_chat_completions(self):
        self.through(OpenAiChat())

    def test_responses(self):
        self.through(OpenAiResponses())

    def test_messages(self):
        self.through(Anthropic())

    def test_json_calls(self):
        template, api = SOURCE_DIR / "tests/data/jinja/hermes_tools.jinja", OpenAiChat()
        for seed in range(2):
            server = self.serve("--chat-template", template)  # where no other answer waits to be read
            following, said = self.first(server, api, seed, stream=seed % 2 == 1)
            message = following["messages"][1]
            call = message["tool_calls"][0]["function"]
            self.assertEqual((call["name"], message["content"] or ""), ("move", ""))
            self.assertEqual(set(json.loads(call["arguments"])), {"x", "at"})
            self.assert_known(server, api, following, said)

    def test_a_restart_knows_them(self):
        sessions, api = self.folder / "sessions", OpenAiChat()
        server = self.serve("--sessions", sessions)
        firsts = [self.first(server, api, seed, stream=False) for seed in range(3)]
        self.assertEqual(server.stop(), 0)
        self.assertTrue(list(sessions.glob("*.words")))
        again = self.serve("--sessions", sessions)
        for following, said in firsts:
            self.assert_known(again, api, following, said)

    def test_what_was_changed_is_taken_as_it_is(self):
        api = OpenAiChat()
        server, other = self.serve(), self.serve()
        following, _ = self.first(server, api, 0, stream=False)
        function = following["messages"][1]["tool_calls"][0]["function"]
        function["arguments"] = json.dumps({**json.loads(function["arguments"]), "x": 123456789})
        self.assertEqual(api.usage(self.ask(server, api, following))[0], api.usage(self.ask(other, api, following))[0])


if __name__ == "__main__":
    unittest.main()
