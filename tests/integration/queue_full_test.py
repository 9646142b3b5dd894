"""A full queue refuses at once, without headers, and says when to come back."""
import json
import threading
import unittest

import grpc
import harness
from harness import pb, request
from server_process import at_most, until
from transmla.v1 import generation_pb2_grpc

REFUSED_REQUESTS = 'transmla_admission_rejections_total{reason="queue_requests"}'
REFUSED_TOKENS = 'transmla_admission_rejections_total{reason="queue_tokens"}'


class QueueFullTest(unittest.TestCase):
    def full(self, *flags):
        """A server whose batch and queue are full, one request each; both end with the test."""
        server = self.enterContext(harness.Server("llama_tied", "--max-running=1", *flags, context=100000))
        calls = []

        def start(message):
            call = server.stream(message)
            reader = threading.Thread(target=harness.read_until_cancelled, args=(call,))
            reader.start()
            calls.append((call, reader))

        def release():
            for call, reader in reversed(calls):
                call.cancel()
                reader.join()
            server.wait_until_idle()

        self.addCleanup(release)
        start(request("a", endless=True))
        until(lambda: server.metric("transmla_requests_running") == 1, "the first runs")
        start(request(ids=[5] * 100, max_tokens=1))
        until(lambda: server.metric("transmla_requests_waiting") == 1, "the second waits")
        return server

    def check_refusal(self, failure, reason):
        self.assertEqual(failure.code, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(failure.reason, reason)
        self.assertEqual(failure.retry_s, 1)
        self.assertEqual(failure.trailers["grpc-retry-pushback-ms"], "1000")
        self.assertEqual(failure.headers, {}, "trailers only: what are headers otherwise is not there")

    def test_too_many_requests(self):
        server = self.full("--max-queued-requests=1")
        before = server.metric(REFUSED_REQUESTS)
        with at_most(1, "a refusal"):
            failure = harness.failure(lambda: server.generate(request("c", 5)))
        self.check_refusal(failure, "QUEUE_FULL")
        self.check_refusal(harness.failure(lambda: server.once(request("c", 5))), "QUEUE_FULL")
        self.assertEqual(server.metric(REFUSED_REQUESTS) - before, 2)
        # Full is healthy.
        self.assertEqual(server.probe("/healthz"), 200)
        self.assertEqual(server.probe("/readyz"), 200)

    def test_too_many_prompt_tokens(self):
        server = self.full("--max-queued-tokens=150")
        self.assertEqual(server.metric("transmla_waiting_prompt_tokens"), 100)
        failure = harness.failure(lambda: server.generate(request(ids=[5] * 51, max_tokens=1)))
        self.check_refusal(failure, "QUEUE_TOKENS_FULL")
        self.assertEqual(server.metric(REFUSED_TOKENS), 1)
        self.assertEqual(server.metric("transmla_waiting_prompt_tokens"), 100, "a refusal holds nothing")

    def test_several_sequences_take_several_places(self):
        server = self.full("--max-queued-requests=3")
        message = request("c", 5)
        message.sampling.num_sequences = 3
        self.check_refusal(harness.failure(lambda: server.generate(message)), "QUEUE_FULL")
        self.assertEqual(server.metric("transmla_requests_waiting"), 1, "no sequence of it stays")

    def test_grpc_itself_may_retry(self):
        """gRPC retries a call only if no headers came; the server then sees it again."""
        server = self.full("--max-queued-requests=1")
        policy = {"methodConfig": [{"name": [{}], "retryPolicy": {
            "maxAttempts": 3, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1,
            "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]}
        channel = server.new_channel(("grpc.service_config", json.dumps(policy)))
        before = server.metric(REFUSED_REQUESTS)
        with channel:
            stub = generation_pb2_grpc.GenerationServiceStub(channel)
            failure = harness.failure(lambda: harness.read(stub.Generate(request("c", 5), timeout=30)))
        self.assertEqual(failure.code, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(server.metric(REFUSED_REQUESTS) - before, 3)

    def test_there_is_room_again_afterwards(self):
        server = self.enterContext(harness.Server("llama_tied", "--max-running=1", "--max-queued-requests=1"))
        served = 0
        refused = 0
        lock = threading.Lock()

        def client():
            nonlocal served, refused
            for _ in range(10):
                try:
                    harness.read(server.stream(request("a", 20, endless=True)))
                    with lock:
                        served += 1
                except grpc.RpcError as error:
                    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
                    with lock:
                        refused += 1

        clients = [threading.Thread(target=client) for _ in range(6)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        self.assertEqual(served + refused, 60)
        self.assertGreater(served, 0)
        server.wait_until_idle()
        self.assertEqual(server.metric(REFUSED_REQUESTS), refused)
        self.assertEqual(server.generate(request("a", 2, endless=True)).usage,
                         pb.Usage(prompt_tokens=1, completion_tokens=2))


harness.main()
