"""A cancelled request leaves the engine at its next step: while it decodes, while its prompt is computed, in the queue."""
import threading
import unittest

import grpc
import harness
from harness import pb, request
from server_process import until

CANCELLED = 'transmla_requests_finished_total{finish_reason="cancelled"}'
LONG = 100000


class CancellationTest(unittest.TestCase):
    def test_while_it_decodes(self):
        with harness.Server(context=LONG) as server:
            call = server.stream(request("a", endless=True))
            for message in call:
                if message.usage.completion_tokens > 5:
                    break
            self.assertGreater(server.pages_used(), 0)
            call.cancel()
            server.wait_until_idle()
            self.assertEqual(server.metric(CANCELLED), 1)
            self.assertEqual(call.code(), grpc.StatusCode.CANCELLED)
            # The engine's own clock: from the call to free pages.
            until(lambda: server.metric("transmla_cancel_to_free_seconds_count") == 1, "the time is noted")
            self.assertLess(server.metric("transmla_cancel_to_free_seconds_sum"), 1)

    def test_while_its_prompt_is_computed(self):
        # 90,000 tokens in steps of 64 would take minutes.
        with harness.Server("llama_tied", "--max-step-tokens=64", context=LONG) as server:
            call = server.stream(request(ids=[5] * 90000, max_tokens=1))
            until(lambda: server.metric("transmla_steps_total") > 3, "the prompt is being computed")
            self.assertEqual(server.metric("transmla_requests_running"), 1)
            call.cancel()
            server.wait_until_idle()
            now = server.metrics()
            self.assertEqual(now[CANCELLED], 1)
            self.assertLess(now['transmla_prompt_tokens_total{source="computed"}'], 90000)
            self.assertEqual(now["transmla_generation_tokens_total"], 0)

    def test_while_it_waits(self):
        with harness.Server("llama_tied", "--max-running=1", context=LONG) as server:
            running = server.stream(request("a", endless=True))
            reader = threading.Thread(target=harness.read_until_cancelled, args=(running,))
            reader.start()
            until(lambda: server.metric("transmla_requests_running") == 1, "the first runs")
            waiting = server.stream(request("b", 10))
            until(lambda: server.metric("transmla_requests_waiting") == 1, "the second waits")
            waiting.cancel()
            until(lambda: server.metric("transmla_requests_waiting") == 0, "the second left the queue")
            now = server.metrics()
            self.assertEqual(now["transmla_requests_running"], 1, "the first goes on")
            self.assertEqual(now["transmla_waiting_prompt_tokens"], 0)
            running.cancel()
            reader.join()
            server.wait_until_idle()
            self.assertEqual(server.metric(CANCELLED), 2)

    def test_unary_and_with_several_sequences(self):
        with harness.Server(context=LONG) as server:
            message = request("a", endless=True)
            message.sampling.num_sequences = 4
            call = server.generation.GenerateOnce.future(pb.GenerateOnceRequest(request=message))
            until(lambda: server.metric("transmla_requests_running") == 4, "all sequences run")
            call.cancel()
            server.wait_until_idle()
            self.assertEqual(server.metric(CANCELLED), 4)

    def test_a_finished_request_is_not_cancelled(self):
        with harness.Server() as server:
            for _ in range(20):
                server.generate(request("a", 3))
            self.assertEqual(server.metric(CANCELLED), 0)
            self.assertEqual(server.metric("transmla_cancel_to_free_seconds_count"), 0)


harness.main()
