"""flashmoe serve: every endpoint, with the built-in model."""
import http.client
import json
import re
import signal
import socket
import subprocess
import time
import unittest

from flashmoe_cli import PATIENCE, QUESTION, SOURCE_DIR, Case, flashmoe
from flashmoe_server import Server

PARAMETERS = {"type": "object", "properties": {"id": {"type": "string", "description": "Id of the order"}}, "required": ["id"]}
TOOL = {"name": "close_order", "description": "Use this to close an order.", "parameters": PARAMETERS}
ORDER = "Close order BB668296004UL."
USER = [{"role": "user", "content": QUESTION}]
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
          "required": ["name", "age"], "additionalProperties": False}


class Served(Case):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--threads", 2)
        cls.addClassCleanup(cls.server.stop)

    def ok(self, path, **body):
        status, answer = self.server.post(path, {"temperature": 0, **body})
        self.assertEqual(status, 200, answer)
        return answer

    def refused(self, status, path, body, *parts):
        got, answer = self.server.post(path, body)
        self.assertEqual(got, status, answer)
        for part in parts:
            self.assertIn(part, answer["error"]["message"])
        return answer


class Chat(Served):
    PATH = "/v1/chat/completions"

    def plain(self, **more):
        return self.ok(self.PATH, messages=USER, max_tokens=24, reasoning_effort="none", **more)

    def test_answer(self):
        answer = self.plain()
        choice = answer["choices"][0]
        self.assertEqual(answer["object"], "chat.completion")
        self.assertIn("quantum", choice["message"]["content"].lower())
        self.assertEqual(choice["finish_reason"], "length")
        usage = answer["usage"]
        self.assertEqual(usage["completion_tokens"], 24)
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + 24)
        timings = answer["timings"]
        self.assertGreaterEqual(timings["first_token_ms"], timings["prompt_ms"])
        self.assertGreater(timings["predicted_ms"], 0)
        again = self.plain()
        self.assertEqual(again["choices"][0]["message"], choice["message"])

    def test_stream_is_the_same_answer(self):
        body = dict(messages=USER, temperature=0, max_tokens=40)
        whole = self.ok(self.PATH, **body)["choices"][0]
        events = [data for _, data in self.server.events(self.PATH, {**body, "stream_options": {"include_usage": True}})]
        self.assertEqual(events[-1], "[DONE]")
        self.assertEqual(events[-2]["choices"], [])
        self.assertEqual(events[-2]["usage"]["completion_tokens"], 40)
        self.assertGreater(events[-2]["timings"]["predicted_ms"], 0)
        deltas = [event["choices"][0]["delta"] for event in events[:-2]]
        self.assertEqual(deltas[0]["role"], "assistant")
        joined = {name: "".join(d.get(name) or "" for d in deltas) for name in ("content", "reasoning_content")}
        self.assertEqual(joined["content"], whole["message"]["content"])
        self.assertEqual(joined["reasoning_content"], whole["message"].get("reasoning_content", ""))
        self.assertEqual([e["choices"][0]["finish_reason"] for e in events[:-2] if e["choices"][0]["finish_reason"]], ["length"])

    def test_thinking_has_its_field(self):
        message = self.ok(self.PATH, messages=USER)["choices"][0]["message"]
        self.assertTrue(message["reasoning_content"])
        self.assertNotIn("</think>", message["content"])
        self.assertNotIn("reasoning_content", self.plain()["choices"][0]["message"])
        answer = self.ok(self.PATH, messages=USER, thinking_budget=3, max_tokens=30)
        self.assertLessEqual(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 8)
        self.assertTrue(answer["choices"][0]["message"]["content"])

    def test_history_and_roles(self):
        messages = [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
                    {"role": "user", "content": "My name is Ann."}, {"role": "assistant", "content": "Hello Ann."},
                    {"role": "user", "content": [{"type": "text", "text": "What is my "}, {"type": "text", "text": "name?"}]}]
        answer = self.ok(self.PATH, messages=messages, max_tokens=8, reasoning_effort="none")
        self.assertGreater(answer["usage"]["prompt_tokens"], 30)
        image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]
        self.refused(400, self.PATH, {"messages": image}, "text only")

    def test_tool_round_trip(self):
        tools = [{"type": "function", "function": TOOL}]
        messages = [{"role": "user", "content": ORDER}]
        choice = self.ok(self.PATH, messages=messages, tools=tools)["choices"][0]
        self.assertEqual(choice["finish_reason"], "tool_calls")
        call = choice["message"]["tool_calls"][0]
        self.assertEqual((call["type"], call["function"]["name"]), ("function", "close_order"))
        self.assertEqual(json.loads(call["function"]["arguments"]), {"id": "BB668296004UL"})
        messages += [choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": '{"closed": true}'}]
        answer = self.ok(self.PATH, messages=messages, tools=tools)
        self.assertTrue(answer["choices"][0]["message"]["content"])
        events = [data for _, data in self.server.events(self.PATH, {"messages": messages[:1], "tools": tools, "temperature": 0})]
        parts = [c for e in events[:-1] for c in e["choices"][0]["delta"].get("tool_calls", [])]
        self.assertEqual(parts[0]["function"]["name"], "close_order")
        self.assertEqual(json.loads("".join(p["function"]["arguments"] for p in parts)), {"id": "BB668296004UL"})

    def settled(self):
        _, _, body = self.server.ask("GET", "/metrics")
        return float(re.search(rb"^flashmoe_settled_tokens_total (\S+)", body, re.M).group(1))

    def test_the_next_turn_finds_the_answer_known(self):
        self.server = Server("--threads", 2)  # where no other answer waits to be read
        self.addCleanup(self.server.stop)
        messages = [{"role": "user", "content": "Tell me about the sea."}]
        before = self.settled()
        first = self.ok(self.PATH, messages=messages, reasoning_effort="none")
        self.assertEqual(first["choices"][0]["finish_reason"], "stop")
        self.assertGreater(first["usage"]["completion_tokens"], 20)
        deadline = time.monotonic() + PATIENCE
        while self.settled() == before and time.monotonic() < deadline:
            time.sleep(0.02)
        messages += [first["choices"][0]["message"], {"role": "user", "content": "And the mountains?"}]
        second = self.ok(self.PATH, messages=messages, max_tokens=4, reasoning_effort="none")
        cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
        self.assertGreaterEqual(cached, first["usage"]["total_tokens"] - 8)  # 8: what opens an answer
        fork = self.ok(self.PATH, messages=[*messages[:2], {"role": "user", "content": "Thanks!"}], max_tokens=4, reasoning_effort="none")
        self.assertEqual(fork["usage"]["prompt_tokens_details"]["cached_tokens"], cached)

    def test_tool_choice(self):
        tools = [{"type": "function", "function": TOOL}]
        ask = dict(messages=USER, tools=tools, reasoning_effort="none", max_tokens=60)
        for choice in ("required", {"type": "function", "function": {"name": "close_order"}}):
            answer = self.ok(self.PATH, **ask, tool_choice=choice)["choices"][0]
            self.assertEqual(answer["message"]["tool_calls"][0]["function"]["name"], "close_order", answer)
        answer = self.ok(self.PATH, **{**ask, "messages": [{"role": "user", "content": ORDER}]}, tool_choice="none")
        self.assertNotIn("tool_calls", answer["choices"][0]["message"])
        self.refused(400, self.PATH, {**ask, "tool_choice": {"type": "function", "function": {"name": "nope"}}}, "nope")
        self.refused(400, self.PATH, {"messages": USER, "tool_choice": "required"}, "no tools")

    def test_structured_output(self):
        for form, check in (({"type": "json_object"}, lambda j: self.assertIsInstance(j, dict)),
                            ({"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}},
                             lambda j: self.assertEqual(sorted(j), ["age", "name"]))):
            answer = self.ok(self.PATH, messages=[{"role": "user", "content": "Describe a person as JSON."}],
                             response_format=form, reasoning_effort="none", max_tokens=400)["choices"][0]
            if answer["finish_reason"] == "stop":
                check(json.loads(answer["message"]["content"]))
            else:
                self.assertEqual(form["type"], "json_object")  # an object may go on without end; this schema may not

    def test_stop_seed_choices_and_logprobs(self):
        text = self.plain()["choices"][0]["message"]["content"]
        stop = " " + text.split()[4]
        stopped = self.plain(stop=stop)["choices"][0]
        self.assertEqual(stopped["message"]["content"], text[:text.index(stop)])
        self.assertEqual(stopped["finish_reason"], "stop")
        sampled = [self.plain(temperature=1.5, seed=7, n=2) for _ in range(2)]
        self.assertEqual([c["index"] for c in sampled[0]["choices"]], [0, 1])
        self.assertEqual(*[[c["message"] for c in answer["choices"]] for answer in sampled])
        told = self.plain(logprobs=True, top_logprobs=3)["choices"][0]["logprobs"]["content"]
        self.assertEqual("".join(t["token"] for t in told), text)
        for token in told:
            self.assertEqual([len(token["top_logprobs"]), token["top_logprobs"][0]["token"]], [3, token["token"]])  # greedy
            self.assertLessEqual(token["logprob"], 0)

    def test_marks_in_user_text_are_text(self):
        count = lambda text: self.ok("/v1/chat/completions", messages=[{"role": "user", "content": text}], max_tokens=1)["usage"]["prompt_tokens"]
        self.assertGreater(count("Hi<|im_end|>"), count("Hi") + 2)

    def test_a_prompt_beyond_the_context(self):
        body = {"messages": [{"role": "user", "content": "word " * 20_000}], "max_tokens": 5}
        self.assertEqual(self.server.post("/v1/chat/completions", {**body, "stream": True})[1]["error"]["code"], "context_length_exceeded")
        self.assertEqual(self.server.post("/v1/messages", body)[0], 400)
        self.assertGreater(self.ok("/v1/messages/count_tokens", **body)["input_tokens"], 20_000)  # which tells by how much

    def test_bad_requests(self):
        for body, *parts in (("{", "not valid JSON"), ("[]", "object"), ({}, "messages"), ({"messages": []}, "messages"),
                             ({"messages": [{"role": "who", "content": "x"}]}, "messages[0].role", "one of"),
                             ({"messages": USER, "temperature": 9}, "temperature"), ({"messages": USER, "n": 0}, "n:"),
                             ({"messages": USER, "max_tokens": "x"}, "max_tokens"), ({"messages": USER, "stop": 5}, "list of strings"),
                             ({"messages": USER, "logit_bias": {"5": 1}}, "logit_bias"),
                             ({"messages": USER, "response_format": {"type": "json_schema"}}, "schema"),
                             ("[" * 5000, "nested"), ({"messages": [{"role": "system", "content": "x"}]}, "user message")):
            answer = self.refused(400, self.PATH, body, *parts)
            self.assertEqual(answer["error"]["type"], "invalid_request_error")


class OtherApis(Served):
    def test_completion(self):
        body = dict(prompt="Once upon a time", max_tokens=12)
        answer = self.ok("/v1/completions", **body, logprobs=2, n=2)
        self.assertEqual([c["finish_reason"] for c in answer["choices"]], ["length"] * 2)
        first = answer["choices"][0]
        self.assertEqual("".join(first["logprobs"]["tokens"]), first["text"])
        self.assertEqual(self.ok("/v1/completions", **body, echo=True)["choices"][0]["text"], body["prompt"] + first["text"])
        events = [data for _, data in self.server.events("/v1/completions", {**body, "temperature": 0})]
        self.assertEqual("".join(e["choices"][0]["text"] for e in events[:-1]), first["text"])
        ids = [int(word) for word in flashmoe("tokenize", body["prompt"]).out.split()]
        self.assertEqual(self.ok("/v1/completions", **{**body, "prompt": ids})["choices"][0]["text"], first["text"])
        self.refused(400, "/v1/completions", {"prompt": ""}, "prompt")

    def test_responses(self):
        answer = self.ok("/v1/responses", input=QUESTION)
        self.assertEqual((answer["object"], answer["status"]), ("response", "completed"))
        self.assertEqual([item["type"] for item in answer["output"]], ["reasoning", "message"])
        text = answer["output"][1]["content"][0]["text"]
        events = self.server.events("/v1/responses", {"input": QUESTION, "temperature": 0})
        self.assertTrue(all(name == data["type"] for name, data in events))
        self.assertEqual([data["sequence_number"] for _, data in events], list(range(len(events))))
        self.assertEqual("".join(d["delta"] for n, d in events if n == "response.output_text.delta"), text)
        self.assertEqual(events[-1][0], "response.completed")
        self.assertEqual(events[-1][1]["response"]["usage"]["output_tokens"], answer["usage"]["output_tokens"])
        cut = self.ok("/v1/responses", input=QUESTION, max_output_tokens=4)
        self.assertEqual((cut["status"], cut["incomplete_details"]["reason"]), ("incomplete", "max_output_tokens"))
        self.refused(400, "/v1/responses", {"input": "x", "previous_response_id": "resp_1"}, "not stored")

    def test_responses_tool_round_trip(self):
        tools = [{"type": "function", **TOOL}]
        items = [{"role": "user", "content": ORDER}]
        answer = self.ok("/v1/responses", input=items, tools=tools)
        call = next(item for item in answer["output"] if item["type"] == "function_call")
        self.assertEqual((call["name"], json.loads(call["arguments"])), ("close_order", {"id": "BB668296004UL"}))
        items += answer["output"] + [{"type": "function_call_output", "call_id": call["call_id"], "output": "closed"}]
        self.assertEqual(self.ok("/v1/responses", input=items, tools=tools)["output"][-1]["type"], "message")

    def test_messages(self):
        body = dict(max_tokens=30, messages=USER, system="Be brief.")
        answer = self.ok("/v1/messages", **body)
        self.assertEqual((answer["type"], answer["role"], answer["stop_reason"]), ("message", "assistant", "max_tokens"))
        self.assertEqual([block["type"] for block in answer["content"]], ["text"])
        thought = self.ok("/v1/messages", **{**body, "max_tokens": 600}, thinking={"type": "enabled", "budget_tokens": 1024})
        self.assertEqual([block["type"] for block in thought["content"]], ["thinking", "text"])
        events = self.server.events("/v1/messages", {**body, "temperature": 0})
        names = [name for name, _ in events]
        self.assertEqual(names[:3], ["message_start", "ping", "content_block_start"])
        self.assertEqual(names[-3:], ["content_block_stop", "message_delta", "message_stop"])
        self.assertEqual("".join(d["delta"]["text"] for n, d in events if n == "content_block_delta"), answer["content"][0]["text"])
        status, counted = self.server.post("/v1/messages/count_tokens", {"messages": USER, "system": "Be brief."})
        usage = answer["usage"]
        self.assertEqual((status, counted["input_tokens"]), (200, usage["input_tokens"] + usage["cache_read_input_tokens"]))
        refused = self.refused(400, "/v1/messages", {"messages": USER}, "max_tokens")
        self.assertEqual((refused["type"], refused["error"]["type"]), ("error", "invalid_request_error"))

    def test_messages_tool_round_trip(self):
        tools = [{"name": TOOL["name"], "description": TOOL["description"], "input_schema": PARAMETERS}]
        messages = [{"role": "user", "content": ORDER}]
        answer = self.ok("/v1/messages", max_tokens=200, messages=messages, tools=tools)
        self.assertEqual(answer["stop_reason"], "tool_use")
        use = answer["content"][-1]
        self.assertEqual((use["type"], use["name"], use["input"]), ("tool_use", "close_order", {"id": "BB668296004UL"}))
        messages += [{"role": "assistant", "content": answer["content"]},
                     {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use["id"], "content": "closed"}]}]
        last = self.ok("/v1/messages", max_tokens=200, messages=messages, tools=tools)
        self.assertEqual(last["stop_reason"], "end_turn")
        forced = self.ok("/v1/messages", max_tokens=200, messages=USER, tools=tools, tool_choice={"type": "any"})
        self.assertEqual(forced["content"][-1]["type"], "tool_use")


class Status(Served):
    def test_pages(self):
        self.assertEqual(self.server.get("/health")[1]["status"], "ok")
        status, props = self.server.get("/props")
        self.assertEqual((status, props["model"]["family"], props["parallel"], props["read_ahead"][:4]), (200, "qwen3_5_moe", 4, "off:"))
        model = self.server.get("/v1/models")[1]["data"][0]
        self.assertEqual(model["id"], "spark")
        self.assertEqual(self.server.get("/v1/models/spark")[1], model)
        self.assertEqual(self.server.get("/v1/models/other")[0], 404)
        status, headers, body = self.server.ask("GET", "/")
        self.assertEqual(status, 200)
        self.assertIn(b"<!doctype html>", body.lower()[:40])
        self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
        self.assertNotRegex(body, rb"<script>|<style|\son\w+=", "the policy forbids what stands in the page itself")
        for name, kind in (("page.js", "text/javascript"), ("markdown.js", "text/javascript"), ("page.css", "text/css")):
            status, headers, _ = self.server.ask("GET", f"/{name}")
            self.assertEqual((status, headers["Content-Type"].split(";")[0]), (200, kind))
        self.assertEqual(self.server.post("/v1/embeddings", {"input": "x"})[0], 501)

    def test_metrics(self):
        self.ok("/v1/chat/completions", messages=USER, max_tokens=5)
        _, _, body = self.server.ask("GET", "/metrics")
        text = body.decode()
        for line in text.splitlines():
            self.assertRegex(line, r"^(# (HELP|TYPE) flashmoe_\w+ .+|flashmoe_\w+(\{[^}]*\})? [-+.e\d]+)$")
        self.assertGreater(float(re.search(r"^flashmoe_answer_tokens_total (\S+)", text, re.M).group(1)), 0)
        stages = dict(re.findall(r'^flashmoe_stage_seconds_total\{layer="\w+",stage="(\w+)"\} (\S+)', text, re.M))
        self.assertLessEqual({"embed", "norm", "mix", "route", "experts", "logits"}, set(stages))

    def test_errors(self):
        for method, path, status in (("GET", "/nope", 404), ("GET", "/v1/chat/completions", 405), ("DELETE", "/health", 405),
                                     ("GET", "/../../etc/passwd", 404), ("GET", "/page/../etc/passwd", 404), ("GET", "/" + "a" * 2000, 414),
                                     ("POST", "/v1/nope", 404), ("GET", "/v1/models/", 404)):
            got, headers, body = self.server.ask(method, path)
            self.assertEqual((got, json.loads(body)["error"]["type"]), (status, "invalid_request_error"), (method, path))
            self.assertNotIn(b"not a valid HTTP", body)
            if status == 405:
                self.assertIn("Allow", headers)

    def test_size_limits(self):
        status, _, body = self.server.ask("POST", "/v1/chat/completions", headers={"Content-Length": str(1 << 40)}, body=b"{")
        self.assertEqual(status, 413, body)
        with self.server.connect() as client:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 1000)
            self.assertIn(b" 431 ", client.recv(100))
        with self.server.connect() as client:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000)
            self.assertRegex(client.recv(100), rb" (431|400) ")
        with self.server.connect() as client:
            client.sendall(b"GET /" + b"a" * 100_000)
            self.assertIn(b" 431 Request Header Fields", client.recv(100))

    def test_pages_elsewhere(self):
        self.assertEqual(self.server.ask("GET", "/health", headers={"Host": "evil.example"})[0], 403)
        self.assertEqual(self.server.ask("GET", "/health", headers={"Origin": "https://evil.example"})[0], 403)
        status, headers, _ = self.server.ask("GET", "/health", headers={"Origin": self.server.url})
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (200, None))

    def test_health_while_generating_and_client_gone(self):
        body = json.dumps({"prompt": "Once", "max_tokens": 4000, "temperature": 2, "n": 16, "stream": True})
        with self.server.connect() as client:
            client.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            client.recv(100)
            start = time.monotonic()
            running = self.server.get("/health")[1]["running"]
            self.assertLess(time.monotonic() - start, 1)
            while running == 0 and time.monotonic() - start < 5:
                running = self.server.get("/health")[1]["running"]
            self.assertGreater(running, 0)
        deadline = time.monotonic() + PATIENCE
        while self.server.get("/health")[1]["running"] and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(self.server.get("/health")[1]["running"], 0)
        _, _, metrics = self.server.ask("GET", "/metrics")
        self.assertGreater(float(re.search(rb"^flashmoe_requests_cancelled_total (\S+)", metrics, re.M).group(1)), 0)


class Starting(Case):
    def test_bad_starts(self):
        self.assert_fails(flashmoe("serve", "--host", "0.0.0.0", "--port", 0), 2, "--api-key")
        self.assert_fails(flashmoe("serve", "--host", "no.such.host.invalid"), 2, "--host")
        self.assert_fails(flashmoe("serve", "--port", 70000), 2, "--port")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.assert_fails(flashmoe("serve", "--port", taken.getsockname()[1]), 1, "in use", "--port")

    def test_key_cors_queue_and_interrupt(self):
        server = Server("--api-key", "secret", "--cors", "https://app.example", "--parallel", 1, "--queue", 40,
                        "--max-request", "64K")
        try:
            self.assertEqual(server.get("/health")[0], 200)
            for path, key_of in (("/v1/models", lambda e: e["code"]), ("/metrics", lambda e: e["code"])):
                status, answer = server.get(path)
                self.assertEqual((status, key_of(answer["error"])), (401, "invalid_api_key"))
            status, answer = server.post("/v1/messages", {}, headers={"x-api-key": "wrong"})
            self.assertEqual((status, answer["error"]["type"]), (401, "authentication_error"))
            for header in ({"x-api-key": "secret"}, {"Authorization": "Bearer secret"}):
                self.assertEqual(server.get("/v1/models", headers=header)[0], 200)
            key = {"x-api-key": "secret", "Origin": "https://app.example"}
            status, headers, _ = server.ask("OPTIONS", "/v1/models", headers={**key, "Access-Control-Request-Headers": "x-api-key"})
            self.assertEqual((status, headers["Access-Control-Allow-Origin"], headers["Access-Control-Allow-Headers"]),
                             (204, "https://app.example", "x-api-key"))
            self.assertEqual(server.post("/v1/completions", {"prompt": "x" * 70000}, headers=key)[0], 413)
            body = json.dumps({"prompt": "Once", "max_tokens": 4000, "temperature": 2, "n": 16, "stream": True})
            clients = []
            for _ in range(2):  # one answer runs, 31 wait: a third request finds no room for its 16
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
                connection.request("POST", "/v1/completions", body, key)
                clients.append((connection, connection.getresponse()))
            status, headers, answer = server.ask("POST", "/v1/completions", body, key)
            self.assertEqual((status, headers["Retry-After"]), (503, "1"), answer)
            server.process.send_signal(signal.SIGINT)
            texts = [response.read() for _, response in clients]
            self.assertTrue(all(b"stopping" in text for text in texts), texts[0][-300:])
            self.assertEqual(server.process.wait(PATIENCE), 0)
        finally:
            server.stop()


class Documents(Case):
    def test_curl_examples(self):
        """Every curl example of the README and the how-to page is answered with 200."""
        server = Server()
        self.addCleanup(server.stop)
        commands = []
        for page in ("README.md", "docs/how-to/serve.md"):
            text = (SOURCE_DIR / page).read_text(encoding="utf-8").replace("\\\n", " ")
            commands += [line.strip() for line in text.splitlines() if line.strip().startswith("curl ")]
        self.assertGreaterEqual(len(commands), 5)
        for command in commands:
            self.assertIn("localhost:8080", command)
            command = command.replace("localhost:8080", f"localhost:{server.port}")
            run = subprocess.run(["bash", "-c", command.replace("curl ", "curl -sS -w '\\n%{http_code}' ", 1)],
                                 capture_output=True, text=True, timeout=PATIENCE, check=False)
            self.assertEqual(run.stdout.rsplit("\n", 1)[-1], "200", command + run.stdout + run.stderr)


if __name__ == "__main__":
    unittest.main()
