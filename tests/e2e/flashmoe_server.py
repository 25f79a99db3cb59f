"""Starts `flashmoe serve` on a free port and talks to it with the standard library."""
import http.client
import json
import re
import signal
import socket
import subprocess
import threading

from flashmoe_cli import BINARY, PATIENCE


class Server:
    def __init__(self, *arguments, **more):
        self.process = subprocess.Popen([str(BINARY), "serve", "--port", "0", *map(str, arguments)],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **more)
        self.lines = []
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"served on http://(\S+):(\d+)/", line):
                self.host, self.port = found.group(1).strip("[]"), int(found.group(2))
                break
        else:
            raise AssertionError("the server did not start: " + "".join(self.lines))
        self.drain = threading.Thread(target=self._drain, daemon=True)
        self.drain.start()
        self.url = f"http://127.0.0.1:{self.port}"

    def _drain(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def stop(self, timeout=PATIENCE):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout)
        self.drain.join(timeout)
        self.process.stderr.close()
        return code

    def connect(self, timeout=PATIENCE):
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def ask(self, method, path, body=None, headers=None, timeout=PATIENCE):
        """(status, headers, body as bytes)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def get(self, path, **more):
        status, _, body = self.ask("GET", path, **more)
        return status, json.loads(body)

    def post(self, path, body, **more):
        status, _, answer = self.ask("POST", path, body, **more)
        return status, json.loads(answer)

    def events(self, path, body):
        """[(event name or None, data)] of a stream; comments apart, in self.comments."""
        status, headers, answer = self.ask("POST", path, {**body, "stream": True})
        assert status == 200, answer
        assert headers["Content-Type"].startswith("text/event-stream"), headers
        events, self.comments = [], []
        for block in answer.decode("utf-8").split("\n\n"):
            name, data = None, None
            for line in block.split("\n"):
                if line.startswith(":"):
                    self.comments.append(line)
                elif line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    data = line[6:]
            if data is not None:
                events.append((name, data if data == "[DONE]" else json.loads(data)))
        return events

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) * 1024
