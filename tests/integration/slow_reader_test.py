"""A client that reads slowly gets fewer and longer chunks; one that does not read is ended. Neither holds up others."""
import time
import unittest

import grpc
import harness
from harness import pb, request
from transmla.v1 import generation_pb2_grpc

# Every token with its 20 alternatives: what a connection buffers is soon full.
WORDY = pb.OutputOptions(token_ids=True, logprobs=20)
# A fixed window; by itself gRPC would grow it to megabytes.
SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)]
STALLED = "transmla_stream_stalled_total"


class SlowReaderTest(unittest.TestCase):
    def stream(self, server, message):
        """A call on a connection of its own."""
        channel = self.enterContext(server.new_channel(*SMALL_WINDOW))
        return generation_pb2_grpc.GenerationServiceStub(channel).Generate(message, timeout=harness.PATIENCE_S)

    def test_chunks_are_joined(self):
        with harness.Server(context=20000) as server:
            # More than the window holds, and less than the limit of bytes: however fast the engine, nobody is ended.
            count = 1500
            call = self.stream(server, request("a", count, endless=True, output=WORDY))
            next(call)
            harness.until(lambda: server.metric("transmla_generation_tokens_total") == count, "all tokens are made")
            result = harness.Result([], {}, {}, {})
            chunks = 0
            for part in call:
                if part.HasField("chunk"):
                    chunks += 1
                    result.tokens.setdefault(0, []).extend(token.id for token in part.chunk.tokens)
                    result.texts[0] = result.text + part.chunk.text
            self.assertEqual(len(result.tokens[0]), count)
            self.assertLess(chunks, count)
            self.assertEqual(result.text, server.generation.Detokenize(pb.DetokenizeRequest(ids=result.tokens[0])).text)
            self.assertEqual(server.metric(STALLED), 0)

    def test_who_does_not_read_is_ended(self):
        with harness.Server("llama_tied", "--stream-stall-timeout=1s", context=100000) as server:
            message = request("a", endless=True, output=WORDY)
            call = self.stream(server, message)
            next(call)
            # Others go on meanwhile, with no wait for the one who sleeps.
            def backlog_seen():
                server.generate(request("b", 5))
                ended = any(item["code"] != "OK" for item in server.requests_logged())
                return ended or server.metric("transmla_stream_backlog_bytes") > 0

            harness.until(backlog_seen, "output waits")
            server.wait_until_idle()
            self.assertEqual(server.metric("transmla_stream_backlog_bytes"), 0)
            with self.assertRaises(grpc.RpcError):
                for _ in call:
                    pass
            failed = harness.until(lambda: [item for item in server.requests_logged() if item["code"] != "OK"],
                                   "the end is in the log")
            self.assertEqual([item["reason"] for item in failed], ["SLOW_CONSUMER"])

    def test_an_idle_stall_is_noticed_by_time(self):
        """The output that waits stays below the limit of bytes: only time can tell."""
        with harness.Server("llama_tied", "--stream-stall-timeout=1s", context=100000) as server:
            # Ends by itself before the limit of bytes is reached; what is left to write does not fit the window.
            call = self.stream(server, request("a", 1500, endless=True, output=WORDY))
            next(call)
            harness.until(lambda: server.metric(STALLED) == 1, "the stall is counted")
            server.wait_until_idle()


harness.main()
