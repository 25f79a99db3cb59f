"""flashmoe serve as a server of HTTP/1.1: hosts, targets, bodies, and connections that stay or end."""
import http.client
import json
import re
import socket
import time
import unittest

from flashmoe_cli import Case
from flashmoe_server import Server

VALID = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "temperature": 0}).encode()


class Http(Case):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--threads", 2)
        cls.addClassCleanup(cls.server.stop)

    def exchange(self, data, half_close=False):
        """All that the server sends until it closes."""
        with self.server.connect() as client:
            client.sendall(data)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            received = b""
            while piece := client.recv(1 << 16):
                received += piece
        return received

    def status(self, *lines):
        answer = self.exchange("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        return int(answer.split()[1])

    def test_hosts(self):
        for host in ("localhost", "LOCALHOST", "Localhost.:80", "127.0.0.1"):
            self.assertEqual(self.status("GET /v1/models HTTP/1.1", f"Host: {host}"), 200, host)
        self.assertEqual(self.status("GET /v1/models HTTP/1.1", "Host: evil.example"), 403)
        self.assertEqual(self.status("GET /v1/models HTTP/1.1"), 400)
        for version in ("1.0", "1.1"):
            self.assertEqual(self.status(f"GET /v1/models HTTP/{version}", "Host: localhost", "Host: localhost"), 400)
        self.assertEqual(self.status("GET /v1/models HTTP/1.0"), 200)

    def test_absolute_targets(self):
        for target, status in (("http://localhost/v1/models", 200), ("HTTP://LOCALHOST:80/v1/models?x=1", 200), ("http://localhost", 200),
                               ("http://localhost/nope", 404), ("http://evil.example/v1/models", 403)):
            self.assertEqual(self.status(f"GET {target} HTTP/1.1", "Host: 127.0.0.1"), status, target)
        self.assertEqual(self.status("GET http://localhost/v1/models HTTP/1.1", "Host: evil.example"), 200)
        self.assertEqual(self.status("GET http://localhost/v1/models HTTP/1.1"), 400)


    def chunked(self, body, *headers):
        head = ["POST /v1/chat/completions HTTP/1.1", "Host: localhost", *(headers or ["Transfer-Encoding: chunked"]), "Connection: close"]
        return int(self.exchange("\r\n".join([*head, "", ""]).encode() + body).split()[1])

    def test_chunked_bodies(self):
        chunks = b"".join(b"%X;x=y\r\n%b\r\n" % (len(piece), piece) for piece in (VALID[:9], VALID[9:])) + b"0\r\n"
        self.assertEqual(self.chunked(chunks + b"\r\n"), 200)
        self.assertEqual(self.chunked(chunks + b"\r\n", "Transfer-Encoding: Chunked"), 200)
        self.assertEqual(self.chunked(chunks + b"X-Sum: 5\r\nExpires: now\r\n\r\n"), 200)
        for broken in (chunks[:-3] + b"x\r\n\r\n", chunks[:-3] + b"0x0\r\n\r\n", b"1\r\n{}\r\n0\r\n\r\n", b"-1\r\n{}\r\n0\r\n\r\n"):
            self.assertEqual(self.chunked(broken), 400, broken)
        self.assertEqual(self.chunked(chunks + b"\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip"), 501)

    def test_requests_behind_a_chunked_one(self):
        post = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\nX: y\r\n\r\n"
        get = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        self.assertEqual(self.exchange(2 * (post % (len(VALID), VALID)) + get).count(b" 200 OK"), 3)

    def post(self, version="1.1", **body):
        body = json.dumps({**json.loads(VALID), **body})
        return f"POST /v1/chat/completions HTTP/{version}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    def test_clients_that_send_no_more_are_answered(self):
        whole = self.exchange(self.post(max_tokens=300, temperature=2), half_close=True)
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", whole), [b"100", b"200"])
        self.assertIn(b'"finish_reason"', whole)
        stream = self.exchange(self.post(max_tokens=300, temperature=2, stream=True), half_close=True)
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", stream), [b"200"])
        self.assertTrue(stream.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"), stream[-100:])
        self.assertEqual(self.exchange(self.post("1.0", max_tokens=300, temperature=2), half_close=True), b"")
        self.assertIn(b" 200 OK", self.exchange(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", half_close=True))

    def test_answers_stop_when_the_client_leaves(self):
        for stream in (False, True):
            with self.server.connect() as client:
                client.sendall(self.post(max_tokens=4000, temperature=2, n=16, stream=stream))
                self.wait_for_running(lambda n: n > 0)
                client.shutdown(socket.SHUT_WR)
            self.wait_for_running(lambda n: n == 0)

    def wait_for_running(self, wanted):
        deadline = time.monotonic() + 3
        while not wanted(running := self.server.get("/health")[1]["running"]):
            self.assertLess(time.monotonic(), deadline, running)
            time.sleep(0.01)

    def persistence(self, *lines):
        """The Connection and Keep-Alive headers of an answer, and whether the server closes after it."""
        with self.server.connect() as client:
            client.sendall("\r\n".join([*lines, "", ""]).encode())
            response = http.client.HTTPResponse(client)
            response.begin()
            response.read()
            told = [response.headers.get_all(name) for name in ("Connection", "Keep-Alive")]
            client.settimeout(0.2)
            try:
                return (*told, client.recv(1) == b"")
            except TimeoutError:
                return (*told, False)

    def test_answers_tell_whether_the_connection_stays(self):
        stays, ends = (["keep-alive"], ["timeout=30"], False), (["close"], None, True)
        get, host = "GET /health HTTP/1.1", "Host: localhost"
        self.assertEqual(self.persistence(get, host), stays)
        self.assertEqual(self.persistence(get, host, "Connection: TE, Keep-Alive"), stays)
        for close in ("close", "TE, Close"):
            self.assertEqual(self.persistence(get, host, f"Connection: {close}"), ends, close)
        self.assertEqual(self.persistence("GET /health HTTP/1.0"), ends)
        self.assertEqual(self.persistence("GET /health HTTP/1.0", "Connection: keep-alive"), stays)
        self.assertEqual(self.persistence(get, "Host: evil.example", "Content-Length: 3"), ends)
        self.assertEqual(self.persistence("nonsense"), ends)


class Key(Case):
    def test_the_scheme_of_a_key_has_no_case(self):
        server = Server("--threads", 2, "--api-key", "Secret")
        self.addCleanup(server.stop)
        for header, status in (("Bearer Secret", 200), ("bearer Secret", 200), ("Bearer secret", 401), ("Basic Secret", 401)):
            self.assertEqual(server.get("/v1/models", headers={"Authorization": header})[0], status, header)


if __name__ == "__main__":
    unittest.main()
