"""flashmoe serve under clients that are many, slow, rude or wrong.

FLASHMOE_STRESS_CONNECTIONS and FLASHMOE_STRESS_REQUESTS make it larger: 1000 and 10000 by hand, in the dev build, where
a leak is an exit code.
"""
import contextlib
import json
import os
import random
import resource
import threading
import time
import unittest

from flashmoe_cli import PATIENCE, Case
from flashmoe_server import Server

N_CONNECTIONS = int(os.environ.get("FLASHMOE_STRESS_CONNECTIONS", "150"))
N_REQUESTS = int(os.environ.get("FLASHMOE_STRESS_REQUESTS", "300"))
GROWTH = 200 << 20
SANITIZED_GROWTH = GROWTH + N_CONNECTIONS * (3 << 19)  # AddressSanitizer takes a megabyte and more for each thread
VALID = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "temperature": 0})


def request(body=VALID, path="/v1/chat/completions", head=""):
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def mutated(rng):
    """A request with some bytes changed, dropped, doubled or cut; or noise."""
    path = rng.choice(["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings", "/%00", "/health"])
    body = rng.choice([VALID, json.dumps({"prompt": "x", "max_tokens": 2}), json.dumps({"input": [{"role": "user", "content": "x"}], "max_output_tokens": 2}),
                       "[" * 3000, '{"messages": [{"role": "user", "content": "\\ud800"}], "max_tokens": 2}', ""])
    data = bytearray(request(body, path, rng.choice(["", "Transfer-Encoding: chunked\r\n", "Content-Type: multipart/form-data; boundary=x\r\n",
                                                     "Range: bytes=0-1\r\n", "Content-Encoding: gzip\r\n", "Expect: 100-continue\r\n"])))
    if rng.random() < 0.05:
        return rng.randbytes(rng.randrange(1, 3000))
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at:at + rng.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = data[at:at + 40]
        else:
            del data[at:]
        if not data:
            break
    return bytes(data)


class StressCase(Case):
    @classmethod
    def setUpClass(cls):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    @classmethod
    def start(cls, **more):
        cls.server = Server("--threads", 2, "--queue", 4, **more)
        cls.addClassCleanup(cls.stop)

    @classmethod
    def stop(cls):
        if (code := cls.server.stop()) != 0:
            raise AssertionError(f"exit code {code}: " + "".join(cls.server.lines))

    def setUp(self):
        super().setUp()
        self.assertEqual(self.answered(), 200)
        self.before = self.server.resident_bytes()

    def answered(self, patience=PATIENCE):
        """The status of a request that comes again while it is told to."""
        deadline = time.monotonic() + patience
        while True:
            status, headers, _ = self.server.ask("POST", "/v1/chat/completions", VALID)
            if status != 503 or time.monotonic() > deadline:
                return status
            self.assertIn("Retry-After", headers)
            time.sleep(0.1)

    def queues(self, end):
        """(bytes not sent yet, bytes not read yet) that the kernel holds at this end of each connection: 1 the server's, 2 its clients'."""
        with open("/proc/net/tcp", encoding="ascii") as lines:
            fields = [line.split() for line in lines][1:]
        return [tuple(int(n, 16) for n in line[4].split(":"))
                for line in fields if int(line[end].split(":")[1], 16) == self.server.port and line[3] == "01"]

    def queued(self):
        return [unsent for unsent, _ in self.queues(end=1)]

    def until_read(self):
        """Waits until the server has taken all that its clients have sent."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and (any(unsent for unsent, _ in self.queues(end=2)) or
                                               any(unread for _, unread in self.queues(end=1))):
            time.sleep(0.01)

    def assert_serves(self):
        start = time.monotonic()
        self.assertEqual(self.server.get("/health")[0], 200)
        self.assertLess(time.monotonic() - start, 2)
        self.assertEqual(self.answered(), 200)
        with open(f"/proc/{self.server.process.pid}/maps", encoding="ascii") as maps:
            most = SANITIZED_GROWTH if "libasan" in maps.read() else GROWTH
        self.assertLess(self.server.resident_bytes() - self.before, most)


class Stress(StressCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.start()

    def test_half_sent_requests(self):
        clients = [self.server.connect() for _ in range(N_CONNECTIONS)]
        for at, client in enumerate(clients):
            client.sendall(request()[:at % 120])
        self.assert_serves()
        for client in clients:
            client.close()

    def test_slow_readers(self):
        body = json.dumps({"prompt": "Once", "max_tokens": 3000, "temperature": 2, "stream": True})
        clients = [self.server.connect() for _ in range(4)]
        for client in clients:
            client.sendall(request(body, "/v1/completions"))
        # Others have more answers on their way than their connection holds, and read none.
        clients += [self.server.connect() for _ in range(N_CONNECTIONS)]
        for client in clients[4:]:
            client.sendall(80 * b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
        deadline = time.monotonic() + PATIENCE  # many connections at once, with a sanitizer, take a while
        while sum(queued > 0 for queued in self.queued()) < N_CONNECTIONS and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertGreaterEqual(sum(queued > 0 for queued in self.queued()), N_CONNECTIONS)
        self.assertLess(max(self.queued()), 300_000)
        self.assert_serves()
        for client in clients:
            client.close()
        self.assert_serves()

    def test_random_disconnects(self):
        rng = random.Random(5)
        for _ in range(N_CONNECTIONS):
            with self.server.connect() as client:
                data = request(VALID.replace("4", "500"))
                client.sendall(data[:rng.randrange(len(data) + 1)] if rng.random() < 0.5 else data)
                if rng.random() < 0.3:
                    time.sleep(0.01)
        self.assert_serves()

    def test_malformed_requests(self):
        rng = random.Random(7)
        for _ in range(N_REQUESTS):
            try:
                with self.server.connect(timeout=0.1) as client:
                    client.sendall(mutated(rng))
                    client.recv(4096)
            except OSError:  # no answer to half a request, or none while the other side still sends
                pass
        self.assert_serves()

    def test_large_bodies_share_a_budget(self):
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {16 << 20}\r\n\r\n".encode()
        clients = [self.server.connect() for _ in range(9)]
        for client in clients:
            client.sendall(head + bytes((16 << 20) - 100_000))  # of 128 MiB, so the last one has no room
            self.until_read()  # two that grow at once would both be refused
        answers = []
        deadline = time.monotonic() + PATIENCE
        while not answers and time.monotonic() < deadline:
            for client in clients:
                client.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    answers.append(client.recv(1000))
        self.assertEqual(len(answers), 1)
        self.assertRegex(answers[0], rb"^HTTP/1.1 503 (?s:.*)\r\nRetry-After: 1\r\n")
        for client in clients:
            client.close()
        self.assert_serves()

    def test_bodies_of_many_values(self):
        def body(n):
            return json.dumps({**json.loads(VALID), "chat_template_kwargs": {"x": [""] * n}}, separators=(",", ":"))
        status, _, answer = self.server.ask("POST", "/v1/chat/completions", body(5_500_000))
        self.assertEqual(status, 400)
        self.assertIn(b"values", answer)
        self.assert_answered_or_refused(8, body(400_000))

    def test_many_at_once_are_answered_or_refused(self):
        self.assert_answered_or_refused(40, VALID)

    def assert_answered_or_refused(self, n, body):
        """Of n requests at once."""
        statuses = []

        def ask():
            statuses.append(self.server.ask("POST", "/v1/chat/completions", body)[0])
        threads = [threading.Thread(target=ask) for _ in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(statuses), n)
        self.assertLessEqual(set(statuses), {200, 503})
        self.assertIn(200, statuses)
        self.assert_serves()


class FewDescriptors(StressCase):
    """More connections than the limit on open files has room for."""
    LIMIT = N_CONNECTIONS + 150

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (cls.LIMIT, cls.LIMIT)))

    def test_those_beyond_are_told_and_others_are_answered(self):
        clients = [self.server.connect() for _ in range(N_CONNECTIONS + 150)]
        for at, client in enumerate(clients):
            client.sendall(request()[:at % 60])
        last = clients[-1]
        last.settimeout(PATIENCE)
        self.assertIn(b" 503 ", last.recv(100))
        # The head has a second where connections are scarce.
        self.assertEqual(self.answered(patience=9), 200)
        self.assertLess(len(os.listdir(f"/proc/{self.server.process.pid}/fd")), self.LIMIT)
        for client in clients:
            client.close()
        self.assert_serves()


if __name__ == "__main__":
    unittest.main()
