"""Ten hours of arrivals in twenty minutes against a server with a tiny model: it neither grows nor keeps anything.

  bench/serving/soak [--minutes 20] [--model llama_tied] [--seed 1]

No test of CTest: it takes too long for every day. Arrivals are Poisson's, with bursts, and the clock that they simulate
runs thirty times as fast as ours; with fewer minutes it just stops earlier. A request is read to its end, cancelled on
the way, overtaken by its deadline, read slowly or not at all, refused for what is wrong with it, or its connection
closes under it. After the warm-up, halfway and at the end arrivals pause until nothing runs, and memory, open files and
threads of the server are noted. The machine should be idle, or the warm-up is too short and readers seem to sleep.

Fails if the server's resident memory grew by more than 1 % and a small constant between warm-up and end, if it has more
open files than before, if a page is still in use, if a request does not end, or if it ends otherwise than its kind may.
"""
import argparse
import collections
import concurrent.futures
import dataclasses
import pathlib
import random
import sys
import threading
import time

import grpc
import harness
from harness import pb, request
from transmla.v1 import generation_pb2_grpc

SIMULATED_S = 30  # in a second
QUIET_PER_S, BURST_PER_S = 0.7, 8  # arrivals on the simulated clock
QUIET_S, BURST_S = 300, 15  # mean duration of each, simulated
WARM_UP = 0.2  # of all the time
AT_ONCE = 64  # clients: more than the server runs and queues
VOCABULARY = range(5, 390)
CONTEXT = 4000
FLAGS = ("--cache-memory=1MiB", "--max-running=16", "--max-queued-requests=16", "--stream-stall-timeout=2s")
ASLEEP_S = 5  # longer than the server puts up with
STUCK_S = 180  # a request that takes longer; a busy machine is slow
SETTLE_S = 12  # freed memory goes back to the system every ten seconds
MORE_RSS_KIB = 1024
MORE_FILES = 4
# Every token with its 20 alternatives, and a window that does not grow: what a connection buffers is soon full.
WORDY = pb.OutputOptions(token_ids=True, logprobs=20)
SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)]


class Client:
    """Makes requests, one kind a method; each returns nothing or raises grpc.RpcError."""

    def __init__(self, server, seed):
        self._server = server
        self._random = random.Random(seed)
        self._beginnings = [self._random.choices(VOCABULARY, k=tokens) for tokens in (64, 100, 150, 200)]
        # kind: share of the requests, and how they may end
        self.kinds = {
            self.read: (50, {"OK", "QUEUE_FULL"}),
            self.once: (8, {"OK", "QUEUE_FULL"}),
            self.cancelled: (15, {"OK", "QUEUE_FULL", "CANCELLED"}),
            self.deadline: (10, {"OK", "QUEUE_FULL", "DEADLINE_EXCEEDED"}),
            self.impatient: (4, {"OK", "QUEUE_FULL", "QUEUE_TIMEOUT"}),
            self.slow: (2, {"OK", "QUEUE_FULL"}),
            self.asleep: (1, {"OK", "QUEUE_FULL", "SLOW_CONSUMER", "CANCELLED"}),
            self.bad: (6, {"INVALID_PARAMETER", "MODEL_NOT_FOUND", "CONTEXT_TOO_LONG", "QUEUE_FULL"}),
            self.vanished: (4, {"OK", "QUEUE_FULL", "CANCELLED"}),
        }

    def draw(self):
        """The next request's kind and what it asks for: drawn by one thread, so that a seed always gives the same."""
        weights = [weight for weight, _ in self.kinds.values()]
        kind = self._random.choices(list(self.kinds), weights)[0]
        beginning = self._random.choice(self._beginnings) if self._random.random() < 0.3 else []
        ids = beginning + self._random.choices(VOCABULARY, k=self._random.randint(1, 100))
        message = request(ids=ids, max_tokens=self._random.randint(1, 40), greedy=self._random.random() < 0.5,
                          priority=self._random.randint(-2, 2))
        return kind, message, random.Random(self._random.random())

    def read(self, message, _):
        self._server.generate(message, timeout=STUCK_S)

    def once(self, message, _):
        self._server.once(message, timeout=STUCK_S)

    def cancelled(self, message, rng):
        """After some messages, perhaps of a stream that has ended."""
        call = self._server.stream(message, timeout=STUCK_S)
        for _ in range(rng.randint(0, message.stop.max_tokens)):
            if next(call, None) is None:
                break
        call.cancel()
        for _ in call:
            pass

    def deadline(self, message, rng):
        message.stop.max_tokens = 1000
        self._server.generate(message, timeout=rng.uniform(0.005, 0.3))

    def impatient(self, message, rng):
        message.max_queue_ms = rng.randint(1, 20)
        self._server.generate(message, timeout=STUCK_S)

    def slow(self, message, rng):
        message.stop.max_tokens = 200
        with self._connection() as channel:
            for _ in self._stream(channel, message):
                time.sleep(rng.uniform(0, 0.01))

    def asleep(self, message, _):
        message.stop.max_tokens = 1500
        message.stop.ignore_eos = True
        with self._connection() as channel:
            call = self._stream(channel, message)
            next(call)
            time.sleep(ASLEEP_S)
            for _ in call:
                pass

    def bad(self, message, rng):
        wrong = rng.randrange(5)
        if wrong == 0:
            message.sampling.temperature = -1
        elif wrong == 1:
            message.model = "none of ours"
        elif wrong == 2:
            message.token_ids.ids.extend([5] * CONTEXT)
        elif wrong == 3:
            message.token_ids.ids.append(10**6)
        else:
            message.ClearField("prompt")
        self._server.generate(message, timeout=STUCK_S)

    def vanished(self, message, rng):
        """Its connection closes, with whatever is on it."""
        message.stop.max_tokens = 1000
        channel = self._connection()
        call = self._stream(channel, message)
        closing = threading.Timer(rng.uniform(0, 0.3), channel.close)
        closing.start()
        try:
            for _ in call:
                pass
        finally:
            closing.join()

    def _connection(self):
        return self._server.new_channel(*SMALL_WINDOW)

    @staticmethod
    def _stream(channel, message):
        message.output.CopyFrom(WORDY)
        return generation_pb2_grpc.GenerationServiceStub(channel).Generate(message, timeout=STUCK_S)


class Crowd:
    """Sends requests as they arrive, and counts how they ended."""

    def __init__(self, server, seed):
        self.ends = collections.Counter()  # (kind, end)
        self.problems = []
        self._client = Client(server, seed)
        self._random = random.Random(seed + 1)
        self._burst = False
        self._free_clients = threading.Semaphore(AT_ONCE)
        self._lock = threading.Lock()

    def run(self, seconds):
        """Returns when all that arrived in so many seconds have ended. On a busy machine, where all clients have their
        hands full, arrivals wait and fewer come: the time is kept."""
        start = time.monotonic()
        arrival = change = 0.0
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            while True:
                if arrival >= change:
                    self._burst = not self._burst
                    change = arrival + self._random.expovariate(1 / (BURST_S if self._burst else QUIET_S)) / SIMULATED_S
                arrival += self._random.expovariate((BURST_PER_S if self._burst else QUIET_PER_S) * SIMULATED_S)
                if max(arrival, time.monotonic() - start) >= seconds:
                    return
                time.sleep(max(start + arrival - time.monotonic(), 0))
                self._free_clients.acquire()
                pool.submit(self._one, *self._client.draw())

    def _one(self, kind, message, rng):
        try:
            end = end_of(lambda: kind(message, rng))
        except Exception as error:  # a contract that harness checks, say; the pool would swallow it
            end = repr(error)
        with self._lock:
            self.ends[kind.__name__, end] += 1
            if end not in self._client.kinds[kind][1]:
                self.problems.append(f"a request of kind {kind.__name__} ended with {end}")
        self._free_clients.release()


def end_of(action):
    """OK, or the reason of what it raises; the status code's name if that tells no reason."""
    try:
        action()
    except grpc.RpcError as error:
        # The client's own clock may strike while the server's answer arrives, whose details then say something else.
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return error.code().name
        failure = harness.failure_of(error)
        return failure.reason or failure.code.name
    return "OK"


@dataclasses.dataclass
class Resources:
    rss_kib: int
    files: int
    threads: int

    def __str__(self):
        return f"{self.rss_kib} KiB resident, {self.files} open files, {self.threads} threads"


def resources(server):
    """Of a server that has come to rest."""
    server.wait_until_idle()
    time.sleep(SETTLE_S)
    folder = pathlib.Path(f"/proc/{server.process.pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return Resources(int(status["VmRSS"].split()[0]), len(list((folder / "fd").iterdir())), int(status["Threads"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--model", default="llama_tied", help="a folder of tests/golden/tiny_models")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    seconds = args.minutes * 60 - 3 * SETTLE_S
    print(f"seed {args.seed}; {args.minutes * SIMULATED_S / 60:.1f} simulated hours in {args.minutes:g} minutes",
          flush=True)
    with harness.Server(args.model, *FLAGS, context=CONTEXT) as server:
        crowd = Crowd(server, args.seed)
        noted = []
        for name, share in (("after the warm-up", WARM_UP), ("in the middle", 0.5 - WARM_UP), ("at the end", 0.5)):
            crowd.run(seconds * share)
            noted.append(resources(server))
            print(f"{name}: {noted[-1]}; {crowd.ends.total()} requests", flush=True)
        now = server.metrics()
    warm, _, last = noted
    for kind in sorted({kind for kind, _ in crowd.ends}):
        ends = [f"{count} {end}" for (of, end), count in sorted(crowd.ends.items()) if of == kind]
        print(f"  {kind:10} " + ", ".join(ends))
    print(f"{crowd.ends.total()} requests, {now['transmla_generation_tokens_total']:.0f} tokens, "
          f"{now['transmla_preemptions_total']:.0f} preemptions, "
          f"{now['transmla_stream_stalled_total']:.0f} stalled streams; "
          f"memory grew by {last.rss_kib / warm.rss_kib - 1:.2%} ({last.rss_kib - warm.rss_kib} KiB)")

    problems = crowd.problems[:20]
    if last.rss_kib > warm.rss_kib * 1.01 + MORE_RSS_KIB:
        problems.append(f"memory grew from {warm.rss_kib} to {last.rss_kib} KiB")
    if last.files > warm.files + MORE_FILES:
        problems.append(f"open files grew from {warm.files} to {last.files}")
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


main()
