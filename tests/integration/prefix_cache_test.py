"""Requests that begin alike compute their beginning once, and get what they would get without a cache, bit for bit."""
import concurrent.futures
import pathlib
import tempfile
import unittest

import harness
from harness import pb, request
from transmla.v1 import model_pb2

PAGE = 64
LOGPROBS = pb.OutputOptions(token_ids=True, logprobs=5)
BEGINNING = "You are a careful assistant who answers briefly. " * 12


def ask(question, *, bypass=False, max_tokens=24):
    message = request(BEGINNING + question, max_tokens, endless=True, output=LOGPROBS)
    message.cache.bypass_prefix_cache = bypass
    return message


def outcome(result):
    """Text, ids and every log-probability."""
    tokens = []
    for message in result.messages:
        if message.HasField("chunk"):
            tokens += [(token.id, token.logprob, [(top.id, top.logprob) for top in token.top])
                       for token in message.chunk.tokens]
    return result.text, tokens


class PrefixCacheTest(unittest.TestCase):
    def check(self, model, *flags):
        with harness.Server(model, *flags, context=20000) as server:
            alone = {word: server.generate(ask(word, bypass=True)) for word in ("one", "two", "three")}
            self.assertEqual(server.metric("transmla_prefix_cache_queried_tokens_total"), 0)
            self.assertEqual(server.metric('transmla_kv_cache_blocks{state="cached"}'), 0)
            for result in alone.values():
                self.assertEqual(result.usage.cached_prompt_tokens, 0)
            first = server.generate(ask("one"))
            self.assertEqual(first.usage.cached_prompt_tokens, 0)
            self.assertEqual(outcome(first), outcome(alone["one"]))
            with concurrent.futures.ThreadPoolExecutor() as pool:
                together = dict(zip(alone, pool.map(lambda word: server.generate(ask(word)), alone)))
            for word, result in together.items():
                self.assertEqual(outcome(result), outcome(alone[word]), word)
                # All whole pages of what the prompts share, if not of more.
                self.assertGreaterEqual(result.usage.cached_prompt_tokens, first.usage.prompt_tokens // PAGE * PAGE - PAGE)
                self.assertLess(result.usage.cached_prompt_tokens, result.usage.prompt_tokens)
            server.wait_until_idle()
            now = server.metrics()
            hits = sum(result.usage.cached_prompt_tokens for result in together.values())
            self.assertEqual(now["transmla_prefix_cache_hit_tokens_total"], hits)
            self.assertEqual(now["vllm:prefix_cache_hits_total"], hits)
            self.assertEqual(now['transmla_prompt_tokens_total{source="cached"}'], hits)
            self.assertGreater(now['transmla_kv_cache_blocks{state="cached"}'], 0)
            self.assertEqual(now['transmla_kv_cache_blocks{state="used"}'], 0)

    def test_grouped_query(self):
        self.check("llama_tied")

    def test_latent(self):
        self.check("mla", "--max-step-tokens=50")  # chunks that do not end where pages do

    def test_expanded_prompts(self):
        block, long = 512, BEGINNING * 4
        def long_ask(question, *, bypass=False):
            message = request(long + question, 24, endless=True, output=LOGPROBS)
            message.cache.bypass_prefix_cache = bypass
            return message
        with harness.Server("mla", context=20000) as server:
            self.assertFalse(server.models.GetModel(model_pb2.GetModelRequest()).model.expanded_prompts)
            absorbed = server.generate(long_ask("one", bypass=True))
            self.assertGreater(absorbed.usage.prompt_tokens, 2 * block)
        with harness.Server("mla", "--expanded-prompts", "--max-step-tokens=700", context=20000) as server:
            self.assertTrue(server.models.GetModel(model_pb2.GetModelRequest()).model.expanded_prompts)
            alone = {word: server.generate(long_ask(word, bypass=True)) for word in ("one", "two", "three")}
            self.assertNotEqual(outcome(alone["one"]), outcome(absorbed), "other sums, other last bits")
            first = server.generate(long_ask("one"))
            self.assertEqual(outcome(first), outcome(alone["one"]))
            with concurrent.futures.ThreadPoolExecutor() as pool:
                together = dict(zip(alone, pool.map(lambda word: server.generate(long_ask(word)), alone)))
            for word, result in together.items():
                self.assertEqual(outcome(result), outcome(alone[word]), word)
                # What is behind the last whole block is absorbed, and would not be in a longer prompt.
                self.assertEqual(result.usage.cached_prompt_tokens, result.usage.prompt_tokens // block * block)
            # The chat goes on: what was behind the block and what was generated are computed as a prompt's now.
            ids = server.generation.Tokenize(pb.TokenizeRequest(text=long + "one")).ids
            history = [*ids, *first.tokens[0], *ids[:block]]
            follow_up = {bypass: request(ids=history, max_tokens=5, endless=True, output=LOGPROBS) for bypass in (True, False)}
            follow_up[True].cache.bypass_prefix_cache = True
            results = {bypass: server.generate(message) for bypass, message in follow_up.items()}
            self.assertEqual(outcome(results[False]), outcome(results[True]))
            self.assertEqual(results[False].usage.cached_prompt_tokens, len(ids) // block * block)
        with harness.Server("llama_tied", "--expanded-prompts", context=2000) as server:
            self.assertFalse(server.models.GetModel(model_pb2.GetModelRequest()).model.expanded_prompts)

    def test_a_chat_goes_on_where_it_ended(self):
        with harness.Server("qwen2", context=20000) as server:
            first = server.generate(ask("one", max_tokens=100))
            ids = server.generation.Tokenize(pb.TokenizeRequest(text=BEGINNING + "one")).ids
            history = list(ids) + first.tokens[0]
            message = request(ids=[*history, 5, 6, 7], max_tokens=5, endless=True)
            second = server.generate(message)
            # The last generated token was never computed.
            self.assertEqual(second.usage.cached_prompt_tokens, (len(history) - 1) // PAGE * PAGE)

    def test_what_has_no_room_goes_to_a_file_and_comes_back(self):
        with tempfile.TemporaryDirectory(prefix="transmla-test-") as folder:
            with harness.Server("mla", "--cache-memory=512KiB", f"--spill-folder={folder}", "--spill-size=64MiB",
                                context=2000) as server:
                pages = server.models.GetModel(model_pb2.GetModelRequest()).model.cache_pages
                alone = server.generate(ask("one", bypass=True))
                server.generate(ask("one"))
                # Others need every page meanwhile.
                filler = 0
                while server.metric("transmla_spilled_blocks") < pages:
                    filler += 1
                    server.generate(request(f"{filler} other things " * 40, 2, endless=True))
                again = server.generate(ask("one"))
                self.assertEqual(outcome(again), outcome(alone))
                self.assertGreater(again.usage.cached_prompt_tokens, 0)
                self.assertGreater(server.metric("transmla_restored_blocks_total"), 0)
                self.assertEqual(server.metric("transmla_spill_failures_total"), 0)
                self.assertEqual(list(pathlib.Path(folder).iterdir()), [], "the file has no name")

    def test_it_can_be_turned_off(self):
        with harness.Server("llama_tied", "--noprefix_cache", context=20000) as server:
            for _ in range(2):
                self.assertEqual(server.generate(ask("one")).usage.cached_prompt_tokens, 0)
            self.assertEqual(server.metric("transmla_prefix_cache_queried_tokens_total"), 0)


harness.main()
