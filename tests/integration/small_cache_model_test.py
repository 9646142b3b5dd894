"""A crowd on a cache of a twentieth of what it needs: who is not cancelled gets exactly the text that it gets alone.

Environment: TRANSMLA_CROWD, the number of requests, 200 by default. Below about 60 the cache is no longer that small,
because it must hold the longest request, and too few run at a time to be preempted.
"""
import concurrent.futures
import dataclasses
import os
import random
import time
import unittest

import grpc
import harness
from harness import pb, request
from server_process import real_model
from transmla.v1 import model_pb2

REQUESTS = int(os.environ.get("TRANSMLA_CROWD", "200"))
SEED = 1
SHARE_OF_PAGES = 0.05
PATIENCE_S = 3600
USED = 'transmla_kv_cache_blocks{state="used"}'
VOCABULARY = range(300, 10000)  # ordinary tokens
# Admission leaves everyone who runs a page to grow into. Only many who grow by more, and together, can use pages up: an
# eighth of all has short prompts and long answers, and goes first.
GROWERS_TOKENS = (150, 192)
GROWERS_PRIORITY = 3


@dataclasses.dataclass
class Asked:
    ids: list
    max_tokens: int
    priority: int
    cancel_after: int = 0  # messages; 0: never
    timeout_s: float = PATIENCE_S
    shared_tokens: int = 0  # with which others begin, too

    def message(self, **fields):
        return request(ids=self.ids, max_tokens=self.max_tokens, **fields)

    def pages(self, page_tokens):
        return -(-(len(self.ids) + self.max_tokens) // page_tokens)


def crowd(rng):
    """A third is going to be cancelled, by its client or by its deadline; a third of all begins like others."""
    beginnings = [rng.choices(VOCABULARY, k=tokens) for tokens in (64, 100, 150, 200)]
    asked = []
    for number in range(REQUESTS):
        if number % 8 == 0:
            one = Asked(rng.choices(VOCABULARY, k=rng.randint(5, 20)), rng.randint(*GROWERS_TOKENS), GROWERS_PRIORITY)
        else:
            ids = rng.choices(VOCABULARY, k=round(5 * 80 ** rng.random()))  # 5 to 400, as often below 45 as above
            one = Asked(ids, rng.randint(8, 64), rng.randint(-2, 2))
            if rng.random() < 1 / 3:
                beginning = rng.choice(beginnings)
                one.ids = (beginning + ids)[:400]
                one.shared_tokens = min(len(beginning), len(one.ids))
        if number % 3 == 0:
            if rng.random() < 0.5:
                one.cancel_after = rng.randint(1, one.max_tokens)
            else:
                one.timeout_s = rng.uniform(0.2, 0.5 * REQUESTS)
        asked.append(one)
    return sorted(asked, key=lambda one: one.priority == GROWERS_PRIORITY, reverse=True)


def pages_of_all(asked, page_tokens):
    """What all hold if they run at once: of what begins alike, whole pages once."""
    pages, shared = 0, set()
    for one in asked:
        whole = one.shared_tokens // page_tokens
        pages += one.pages(page_tokens) - whole
        shared.update(tuple(one.ids[:(k + 1) * page_tokens]) for k in range(whole))
    return pages + len(shared)


@dataclasses.dataclass
class Answer:
    text: str = None  # of those that finished
    preemptions: int = 0
    end: str = ""  # of the others


def ask(server, one):
    call = server.stream(one.message(priority=one.priority), timeout=one.timeout_s)
    text = ""
    try:
        for number, message in enumerate(call, 1):
            text += message.chunk.text
            if message.HasField("finished"):
                return Answer(text, message.finished.preemptions)
            if number == one.cancel_after:
                call.cancel()
    except grpc.RpcError as error:
        expected = {grpc.StatusCode.CANCELLED: one.cancel_after > 0,
                    grpc.StatusCode.DEADLINE_EXCEEDED: one.timeout_s < PATIENCE_S}
        if expected.get(error.code()):
            return Answer(end=error.code().name.lower())
        raise
    raise AssertionError("a stream ended in order, but without a Finished")


class SmallCacheModelTest(unittest.TestCase):
    def test_smollm2(self):
        model = real_model()
        asked = crowd(random.Random(SEED))
        print(f"seed {SEED}")
        # Answers alone come from a server of their own, whose cache no crowd has touched.
        with harness.Server(model) as quiet:
            about = quiet.models.GetModel(model_pb2.GetModelRequest()).model
            longest = max(one.pages(about.page_tokens) for one in asked)
            all_pages = pages_of_all(asked, about.page_tokens)
            pages = max(round(all_pages * SHARE_OF_PAGES), longest)
            start = time.monotonic()
            answers, now = self.answers_of_crowd(model, asked, pages, about)
            middle = time.monotonic()
            finished = [(one, answer) for one, answer in zip(asked, answers) if answer.text is not None]
            for one, answer in finished:
                alone = quiet.generate(one.message(cache=pb.CacheOptions(bypass_prefix_cache=True)), timeout=PATIENCE_S)
                self.assertEqual(answer.text, alone.text, f"{one} differs from its answer alone")
            end = time.monotonic()

        preempted = sum(answer.preemptions > 0 for _, answer in finished)
        cancelled = sum(answer.end == "cancelled" for answer in answers)
        expired = sum(answer.end == "deadline_exceeded" for answer in answers)
        print(f"{REQUESTS} requests on {pages} pages, {pages / all_pages:.1%} of {all_pages}: "
              f"{len(finished)} as each alone, {preempted} of them after a preemption, {cancelled} cancelled, "
              f"{expired} out of time; {now['transmla_preemptions_total']:.0f} preemptions, "
              f"{now['transmla_prefix_cache_hit_tokens_total']:.0f} tokens found in the prefix cache, "
              f"{now[USED]:.0f} pages in use at the end; {middle - start:.0f} s, then {end - middle:.0f} s alone")
        self.assertGreaterEqual(len(finished), REQUESTS // 2)
        self.assertGreater(cancelled, 0)
        self.assertGreater(expired, 0)
        self.assertGreater(now["transmla_preemptions_total"], 0)
        self.assertEqual(now[USED], 0)

    def answers_of_crowd(self, model, asked, pages, about):
        """The answers, and the metrics after the last of them."""
        cache_bytes = pages * about.page_tokens * about.cache_bytes_per_token
        with harness.Server(model, f"--cache-memory={cache_bytes}", f"--max-queued-requests={REQUESTS}") as server:
            self.assertEqual(server.models.GetModel(model_pb2.GetModelRequest()).model.cache_pages, pages)
            with concurrent.futures.ThreadPoolExecutor(REQUESTS) as pool:
                answers = list(pool.map(lambda one: ask(server, one), asked))
            server.wait_until_idle()
            return answers, server.metrics()


harness.main()
