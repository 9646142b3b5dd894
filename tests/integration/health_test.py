"""grpc.health.v1, the HTTP probes and reflection."""
import queue
import signal
import threading
import unittest

import grpc
import harness
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from harness import PATIENCE_S, request

SERVICES = ["", "transmla.v1.GenerationService", "transmla.v1.ModelService", "google.longrunning.Operations"]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class HealthTest(unittest.TestCase):
    def test_every_service_serves_once_the_model_is_there(self):
        with harness.Server() as server:
            stub = health_pb2_grpc.HealthStub(server.channel)
            for name in SERVICES:
                self.assertEqual(stub.Check(health_pb2.HealthCheckRequest(service=name)).status, SERVING, name)
            unknown = harness.failure(lambda: stub.Check(health_pb2.HealthCheckRequest(service="other")))
            self.assertEqual(unknown.code, grpc.StatusCode.NOT_FOUND)
            self.assertEqual(server.probe("/healthz"), 200)
            self.assertEqual(server.probe("/readyz"), 200)
            self.assertEqual(server.probe("/"), 404)

    def test_a_watcher_sees_the_drain_and_does_not_hold_it_up(self):
        with harness.Server("llama_tied", "--drain-delay=5s", "--grace-period=120s") as server:
            stub = health_pb2_grpc.HealthStub(server.channel)
            seen = {name: queue.Queue() for name in SERVICES}

            def watch(name):
                try:
                    for response in stub.Watch(health_pb2.HealthCheckRequest(service=name)):
                        seen[name].put(response.status)
                except grpc.RpcError:
                    pass

            watchers = [threading.Thread(target=watch, args=(name,)) for name in SERVICES]
            for watcher in watchers:
                watcher.start()
            for name in SERVICES:
                self.assertEqual(seen[name].get(timeout=PATIENCE_S), SERVING, name)
            server.signal(signal.SIGTERM)
            for name in SERVICES:
                self.assertEqual(seen[name].get(timeout=PATIENCE_S), NOT_SERVING, name)
            # The delay is for those who still come.
            self.assertEqual(server.probe("/readyz"), 503)
            self.assertEqual(server.probe("/healthz"), 200)
            self.assertEqual(server.generate(request("a", 2, endless=True)).usage.completion_tokens, 2)
            self.assertEqual(server.wait(timeout_s=30), 0, "long before the grace period is over")
            for watcher in watchers:
                watcher.join()

    def test_probes_answer_while_the_engine_is_busy(self):
        with harness.Server("llama_tied", "--max-step-tokens=4096", context=100000) as server:
            call = server.stream(request(ids=[5] * 90000, max_tokens=1))
            harness.until(lambda: server.metric("transmla_requests_running") == 1, "the prompt is being computed")
            stub = health_pb2_grpc.HealthStub(server.channel)
            for _ in range(10):
                self.assertEqual(stub.Check(health_pb2.HealthCheckRequest()).status, SERVING)
                self.assertEqual(server.probe("/readyz"), 200)
            call.cancel()

    def test_reflection_describes_the_services(self):
        with harness.Server() as server:
            database = ProtoReflectionDescriptorDatabase(server.channel)
            services = set(database.get_services())
            self.assertLessEqual(set(SERVICES) - {""} | {"grpc.health.v1.Health"}, services)
            pool = DescriptorPool(database)
            service = pool.FindServiceByName("transmla.v1.GenerationService")
            self.assertEqual([method.name for method in service.methods],
                             ["Generate", "GenerateOnce", "Tokenize", "Detokenize"])
            operations = pool.FindServiceByName("google.longrunning.Operations")
            self.assertIn("WaitOperation", [method.name for method in operations.methods])


harness.main()
