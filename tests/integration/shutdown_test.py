"""SIGTERM: running streams finish, new ones are refused, the process ends with 0. A second one ends it at once."""
import signal
import threading
import time
import unittest

import grpc
import harness
from harness import request
from server_process import at_most, until


class Reader(threading.Thread):
    """Reads a stream in the background; `result` or `failure` when it ended."""

    def __init__(self, call):
        super().__init__()
        self.call, self.result, self.failure = call, None, None
        self.start()

    def run(self):
        try:
            self.result = harness.read(self.call)
        except grpc.RpcError as error:
            self.failure = harness.failure_of(error)


class ShutdownTest(unittest.TestCase):
    def busy(self, *flags, **fields):
        """A server with a stream that runs."""
        server = self.enterContext(harness.Server("llama_tied", *flags, context=100000))
        reader = Reader(server.stream(request("a", endless=True, **fields)))
        until(lambda: server.metric("transmla_requests_running") == 1, "the stream runs")
        return server, reader

    def test_an_idle_server_ends_at_once(self):
        with harness.Server("llama_tied", "--grace-period=120s") as server:
            with at_most(20, "the end of an idle server"):
                server.signal(signal.SIGTERM)
                self.assertEqual(server.wait(), 0)

    def test_interrupt_is_the_same(self):
        with harness.Server() as server:
            server.signal(signal.SIGINT)
            self.assertEqual(server.wait(), 0)

    def test_running_and_waiting_streams_finish(self):
        server = self.enterContext(harness.Server("llama_tied", "--max-running=2", "--grace-period=600s", context=100000))
        readers = [Reader(server.stream(request("a", 3000, endless=True))) for _ in range(5)]
        until(lambda: server.metric("transmla_requests_running") == 2 and
              server.metric("transmla_requests_waiting") == 3, "two run and three wait")
        server.signal(signal.SIGTERM)
        for reader in readers:
            reader.join()
            self.assertIsNone(reader.failure)
            self.assertEqual(reader.result.usage.completion_tokens, 3000)
        self.assertEqual(server.wait(), 0)

    def test_new_requests_are_refused(self):
        server, reader = self.busy("--grace-period=120s")
        server.signal(signal.SIGTERM)
        until(lambda: server.probe("/readyz") == 503, "the server is not ready")
        refused = until(lambda: self.refusal(server), "requests are refused")
        self.assertEqual(refused.code, grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(refused.reason, "DRAINING")
        self.assertIsNotNone(refused.retry_s)
        self.assertEqual(server.metric('transmla_engine_state{state="draining"}'), 1)
        self.assertGreater(server.metric('transmla_admission_rejections_total{reason="draining"}'), 0)
        reader.call.cancel()
        reader.join()
        self.assertEqual(server.wait(), 0)

    def refusal(self, server):
        try:
            server.generate(request("b", 1))
        except grpc.RpcError as error:
            return harness.failure_of(error)
        return None

    def test_the_grace_period_ends(self):
        server, reader = self.busy("--grace-period=1s")
        start = time.monotonic()
        server.signal(signal.SIGTERM)
        reader.join()
        self.assertGreaterEqual(time.monotonic() - start, 1)
        self.assertEqual(reader.failure.code, grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(reader.failure.reason, "DRAINING")
        self.assertEqual(server.wait(), 0)

    def test_a_second_signal_ends_at_once(self):
        server, reader = self.busy("--grace-period=120s")
        server.signal(signal.SIGTERM)
        until(lambda: server.probe("/readyz") == 503, "the drain has begun")
        with at_most(10, "the end after the second signal"):
            server.signal(signal.SIGTERM)
            self.assertEqual(server.wait(), 128 + signal.SIGTERM)
        reader.join()
        self.assertEqual(reader.failure.code, grpc.StatusCode.UNAVAILABLE)

    def test_a_taken_port_is_an_error(self):
        with harness.Server() as server:
            with self.assertRaisesRegex(AssertionError, "ended with 1(.|\n)*cannot listen for gRPC"):
                harness.Server("llama_tied", f"--listen={server.address}")
            with self.assertRaisesRegex(AssertionError, "ended with 1(.|\n)*cannot listen for HTTP"):
                harness.Server("llama_tied", f"--metrics-listen={server.http}")


harness.main()
