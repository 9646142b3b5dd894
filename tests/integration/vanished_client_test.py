"""A client whose process is killed stops its sequences, wherever they are."""
import subprocess
import sys
import unittest

import harness
from harness import pb, request
from server_process import until

CLIENT = """
import sys
import grpc
from transmla.v1 import generation_pb2 as pb, generation_pb2_grpc

channel = grpc.insecure_channel(sys.argv[1])
stub = generation_pb2_grpc.GenerationServiceStub(channel)
calls = []
for line in sys.stdin:
    calls.append(stub.Generate(pb.GenerateRequest.FromString(bytes.fromhex(line))))
    next(calls[-1])  # accepted: the next one comes after it
print("accepted", flush=True)
for message in calls[0]:
    pass
"""


class VanishedClientTest(unittest.TestCase):
    def test_kill_dash_nine(self):
        with harness.Server("llama_tied", "--max-running=2", "--max-step-tokens=64", context=100000) as server:
            requests = [
                request("a", endless=True),  # decodes
                request(ids=[5] * 90000, max_tokens=1),  # its prompt is being computed
                request("b", 5),  # waits
            ]
            client = subprocess.Popen([sys.executable, "-c", CLIENT, server.address], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
            try:
                client.stdin.write("".join(item.SerializeToString().hex() + "\n" for item in requests))
                client.stdin.close()
                self.assertEqual(client.stdout.readline(), "accepted\n")
                until(lambda: server.metric("transmla_requests_running") == 2 and
                      server.metric("transmla_requests_waiting") == 1, "two run and one waits")
            finally:
                client.kill()
                client.wait()
                client.stdout.close()
            server.wait_until_idle()
            self.assertEqual(server.metric('transmla_requests_finished_total{finish_reason="cancelled"}'), 3)
            # And the server is as good as before.
            self.assertEqual(server.generate(request("a", 3, endless=True)).usage, pb.Usage(
                prompt_tokens=1, completion_tokens=3))


harness.main()
