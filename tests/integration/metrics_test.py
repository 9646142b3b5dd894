"""The metrics over HTTP: every series from the start, vLLM's names and buckets beside ours, values that add up."""
import re
import shutil
import socket
import subprocess
import unittest

import grpc
import harness
from harness import PATIENCE_S, request

LABELS = {
    "transmla_kv_cache_blocks": ("state", ["used", "cached", "free"]),
    "transmla_kv_cache_bytes": ("state", ["used", "cached", "free"]),
    "transmla_device_memory_bytes": ("kind", ["weights", "kv_cache"]),
    "transmla_prompt_tokens_total": ("source", ["computed", "cached"]),
    "transmla_requests_finished_total": ("finish_reason", ["stop", "length", "cancelled", "deadline", "error"]),
    "transmla_admission_rejections_total": ("reason", ["queue_requests", "queue_tokens", "too_long", "memory",
                                                       "draining", "not_ready", "invalid", "other"]),
    "transmla_engine_state": ("state", ["starting", "ready", "draining", "failed"]),
    "transmla_conversion_operations": ("state", ["queued", "running"]),
    "transmla_conversions_finished_total": ("result", ["succeeded", "failed", "cancelled"]),
    "vllm:request_success_total": ("finished_reason", ["stop", "length", "abort", "error"]),
}
PLAIN = ["transmla_requests_running", "transmla_requests_waiting", "transmla_kv_cache_usage_ratio",
         "transmla_kv_cache_bytes_per_token", "transmla_kv_cache_gqa_equivalent_bytes_per_token",
         "transmla_prefix_cache_queried_tokens_total", "transmla_prefix_cache_hit_tokens_total",
         "transmla_preemptions_total", "transmla_generation_tokens_total", "transmla_stream_backlog_bytes",
         "transmla_stream_stalled_total", "transmla_engine_heartbeat_age_seconds", "process_resident_memory_bytes",
         "process_cpu_seconds_total", "process_open_fds", "process_start_time_seconds", "vllm:num_requests_running",
         "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:num_preemptions_total",
         "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total",
         "vllm:prompt_tokens_total", "vllm:generation_tokens_total"]
FIRST_TOKEN = ".001 .005 .01 .02 .04 .06 .08 .1 .25 .5 .75 1 2.5 5 7.5 10 20 40 80 160 640 2560"
INTER_TOKEN = ".01 .025 .05 .075 .1 .15 .2 .3 .4 .5 .75 1 2.5 5 7.5 10 20 40 80"
# vLLM's, and lower ones before it for small models.
PHASE = (".001 .005 .01 .025 .05 .1 .2 .3 .5 .8 1 1.5 2 2.5 5 10 15 20 30 40 50 60 120 240 480 960 1920 7680")
BUCKETS = {
    "transmla_time_to_first_token_seconds": FIRST_TOKEN,
    "vllm:time_to_first_token_seconds": FIRST_TOKEN,
    "transmla_inter_token_latency_seconds": INTER_TOKEN,
    "vllm:inter_token_latency_seconds": INTER_TOKEN,
    "transmla_e2e_request_latency_seconds": PHASE,
    "vllm:e2e_request_latency_seconds": PHASE,
    "transmla_request_queue_seconds": PHASE,
    "transmla_request_prefill_seconds": PHASE,
    "transmla_request_decode_seconds": PHASE,
}


class MetricsTest(unittest.TestCase):
    def test_every_series_is_there_from_the_start(self):
        with harness.Server() as server:
            now = server.metrics()
            for name, (label, values) in LABELS.items():
                found = {key for key in now if key.startswith(name + "{")}
                self.assertEqual(found, {f'{name}{{{label}="{value}"}}' for value in values}, name)
            for name in PLAIN:
                self.assertIn(name, now)
            for name, bounds in BUCKETS.items():
                found = [float(key.split('"')[1]) for key in now if key.startswith(name + "_bucket")]
                self.assertEqual(found, [*map(float, bounds.split()), float("inf")], name)
            self.assertEqual(now["transmla_requests_running"], 0)
            self.assertEqual(now['transmla_engine_state{state="ready"}'], 1)

    def test_the_text_is_prometheus_own(self):
        with harness.Server() as server:
            text = server.metrics_text()
            kinds = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)
            self.assertEqual(len(kinds), len(dict(kinds)), "a family twice")
            self.assertEqual({kind for _, kind in kinds}, {"counter", "gauge", "histogram"})
            if promtool := shutil.which("promtool"):
                # Only what it can say of correctness: vLLM's names break its naming advice.
                own = "".join(block for block in re.split(r"(?=^# HELP )", text, flags=re.M) if "vllm:" not in block)
                checked = subprocess.run([promtool, "check", "metrics"], input=own, capture_output=True, text=True,
                                         check=False)
                self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_the_http_port_survives_junk(self):
        with harness.Server() as server:
            host, port = server.http.split(":")
            for path, status in (("/", 404), ("/metrics/", 404), ("/healthz/x", 404), ("/metrics?x=1", 200)):
                self.assertEqual(server.probe(path), status, path)
            lines = [b"POST /metrics", b"PUT /x", b"DELETE /healthz", b"OPTIONS *", b"CONNECT a:1", b"TRACE /", b"FOO /",
                     b"HEAD /readyz", b"GET http://other/metrics", b"GET /../../../etc/passwd", b"GET /%00%ff%2e%2e",
                     b"GET " + b"/" * 5000, b"GET " + b"a" * 20000, b"GET", b"", b"\0\xff", b"GET /metrics HTTP/9.9"]
            for line in lines:
                for head in (b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"\r\n\r\n",
                             b" HTTP/1.1\r\nContent-Length: -1\r\n\r\n"):
                    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
                        try:
                            connection.sendall(line + head)
                            connection.shutdown(socket.SHUT_WR)
                            answer = connection.recv(100)
                            self.assertNotIn(b" 500 ", answer, line)
                        except TimeoutError:
                            raise
                        except OSError:
                            pass  # It may hang up before it has read everything.
            self.assertEqual(server.probe("/healthz"), 200)
            self.assertEqual(server.generate(request("a", 2, endless=True)).usage.completion_tokens, 2)

    def test_our_names_alone(self):
        with harness.Server("llama_tied", "--metrics-compat=none") as server:
            self.assertNotIn("vllm:", server.metrics_text())

    def test_values_follow_the_requests(self):
        with harness.Server("llama_tied", "--model-name=small") as server:
            for _ in range(3):
                server.generate(request("a b", 10, endless=True))
            stopped = server.generate(request("a b", 10, endless=True))
            message = request("a b", 10, endless=True)
            message.stop.stop_strings.append(stopped.text[:3])
            server.generate(message)
            with self.assertRaises(grpc.RpcError):
                server.generate(request("a b", 100000))
            server.wait_until_idle()
            now = server.metrics()
            prompt = stopped.usage.prompt_tokens
            self.assertEqual(now['transmla_requests_finished_total{finish_reason="length"}'], 4)
            self.assertEqual(now['transmla_requests_finished_total{finish_reason="stop"}'], 1)
            self.assertEqual(now['vllm:request_success_total{finished_reason="length"}'], 4)
            self.assertEqual(now['transmla_admission_rejections_total{reason="too_long"}'], 1)
            self.assertEqual(now['transmla_prompt_tokens_total{source="computed"}'], 5 * prompt)
            self.assertEqual(now["vllm:prompt_tokens_total"], 5 * prompt)
            self.assertGreater(now["transmla_generation_tokens_total"], 40)
            self.assertEqual(now["transmla_time_to_first_token_seconds_count"], 5)
            self.assertEqual(now["transmla_request_prompt_tokens_sum"], 5 * prompt)
            self.assertEqual(now["transmla_inter_token_latency_seconds_count"],
                             now["transmla_generation_tokens_total"] - 5)
            self.assertGreater(now["transmla_steps_total"], 0)
            self.assertEqual(now["transmla_step_tokens_count"], now["transmla_steps_total"])
            phases = sum(now[f"transmla_request_{phase}_seconds_sum"] for phase in ("queue", "prefill", "decode"))
            self.assertAlmostEqual(phases, now["transmla_e2e_request_latency_seconds_sum"], places=4)
            self.assertIn('{model="small"}', server.metrics_text())
            self.assertIn('{model_name="small",engine="0"}', server.metrics_text())

    def test_the_cache_is_described(self):
        # Two layers of [latent 32 | rope key 8]: in F32; or as 8-bit integers with one scale, and BF16.
        for dtype, bytes_per_token in (("f32", 2 * (32 + 8) * 4), ("int8", 2 * (32 + 4 + 8 * 2))):
            with self.subTest(dtype), harness.Server("mla", f"--cache-dtype={dtype}") as server:
                now = server.metrics()
                self.assertEqual(now["transmla_kv_cache_bytes_per_token"], bytes_per_token)
                info = re.search(r"transmla_cache_config_info\{([^}]*)\} 1", server.metrics_text()).group(1)
                for label in ('block_size="64"', 'latent_dim="32"', 'rope_dim="8"', f'cache_dtype="{dtype}"'):
                    self.assertIn(label, info)
                pages = now['transmla_kv_cache_blocks{state="free"}']
                self.assertIn(f'num_gpu_blocks="{pages:.0f}"', info)
                self.assertEqual(now['transmla_kv_cache_bytes{state="free"}'],
                                 now['transmla_device_memory_bytes{kind="kv_cache"}'])


harness.main()
