"""A request ends with its deadline, running or waiting, and with the time that it may wait."""
import threading
import time
import unittest

import grpc
import harness
from harness import request
from server_process import until


class DeadlineTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(harness.Server("llama_tied", "--max-running=1", context=100000))

    def ends(self):
        """Accepted requests that did not end by themselves."""
        now = self.server.metrics()
        return sum(now[f'transmla_requests_finished_total{{finish_reason="{reason}"}}']
                   for reason in ("cancelled", "deadline", "error"))

    def occupy(self):
        """Fills the one place of the batch until the test ends."""
        call = self.server.stream(request("a", endless=True))
        reader = threading.Thread(target=harness.read_until_cancelled, args=(call,))
        reader.start()

        def release():
            call.cancel()
            reader.join()
            self.server.wait_until_idle()

        self.addCleanup(release)
        until(lambda: self.server.metric("transmla_requests_running") == 1, "the place is taken")

    def test_while_it_runs(self):
        before = self.ends()
        start = time.monotonic()
        failure = harness.failure(lambda: self.server.generate(request("a", endless=True), timeout=0.5))
        self.assertEqual(failure.code, grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertGreaterEqual(time.monotonic() - start, 0.5)
        self.server.wait_until_idle()
        self.assertEqual(self.ends() - before, 1)

    def test_while_it_waits(self):
        self.occupy()
        before = self.ends()
        failure = harness.failure(lambda: self.server.generate(request("b", 5), timeout=0.3))
        self.assertEqual(failure.code, grpc.StatusCode.DEADLINE_EXCEEDED)
        until(lambda: self.server.metric("transmla_requests_waiting") == 0, "it left the queue")
        self.assertEqual(self.ends() - before, 1)

    def test_the_time_it_may_wait(self):
        self.occupy()
        failure = harness.failure(lambda: self.server.generate(request("b", 5, max_queue_ms=200)))
        self.assertEqual(failure.code, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(failure.reason, "QUEUE_TIMEOUT")
        self.assertIsNotNone(failure.retry_s)
        self.assertEqual(self.server.metric("transmla_requests_waiting"), 0)

    def test_an_early_end_leaves_the_deadline_alone(self):
        result = self.server.generate(request("a", 3, endless=True), timeout=30)
        self.assertEqual(result.usage.completion_tokens, 3)


harness.main()
