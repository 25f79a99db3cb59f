"""A server with /v1/chat/completions that answers from a script."""
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeChatServer:
    """`answers`: for each request a list of chunks (dicts become events, strings are written as they are), or a pair of
    status and body. The last one is given again. What is read from the path `endless` begins with `start`, and then
    `piece` comes again and again."""

    def __init__(self, answers, key=None, pause=0.0, endless=None, start="", piece="x" * 65536):
        self.requests, self.gone = [], threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def refuse(self, status, body):
                data = body.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def never_end(self):
                try:
                    self.wfile.write(start.encode())
                    while True:
                        self.wfile.write(piece.encode())
                except (BrokenPipeError, ConnectionResetError):
                    outer.gone.set()

            def allowed(self):
                if key is None or self.headers.get("Authorization") == f"Bearer {key}":
                    return True
                self.refuse(401, '{"error": {"message": "wrong key"}}')
                return False

            def do_GET(self):
                if not self.allowed():
                    return
                if self.path == endless:
                    self.never_end()
                elif self.path == "/v1/models":
                    self.refuse(200, '{"data": [{"id": "fake-model"}]}')
                else:
                    self.refuse(404, "")

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not self.allowed():
                    return
                outer.requests.append(json.loads(body))
                answer = answers[min(len(outer.requests), len(answers)) - 1]
                if self.path == endless:
                    self.never_end()
                    return
                if isinstance(answer, tuple):
                    self.refuse(*answer)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                try:
                    for chunk in answer:
                        text = chunk if isinstance(chunk, str) else f"data: {json.dumps(chunk)}\n\n"
                        self.wfile.write(text.encode())
                        time.sleep(pause)
                except (BrokenPipeError, ConnectionResetError):
                    outer.gone.set()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def text_chunks(text, reason="stop", size=7):
    pieces = [text[at:at + size] for at in range(0, len(text), size)]
    return [*({"choices": [{"delta": {"content": piece}}]} for piece in pieces),
            {"choices": [{"delta": {}, "finish_reason": reason}]},
            {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 8,
                                      "prompt_tokens_details": {"cached_tokens": 5}}},
            "data: [DONE]\n\n"]


def call_chunks(name, arguments):
    return [{"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                                                    "function": {"name": name, "arguments": ""}}]}}]},
            {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": json.dumps(arguments)}}]}}]},
            {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}, "data: [DONE]\n\n"]
