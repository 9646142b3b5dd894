"""32 concurrent streams of tiny models, grouped-query and latent."""
import unittest

import crowd
import harness


class ConcurrentStreamsTest(unittest.TestCase):
    def check(self, model, *flags):
        # A context long enough that streams without max_tokens are still there to be cancelled.
        with harness.Server(model, *flags, context=100000) as server:
            crowd.check(self, server, max_tokens=120)

    def test_grouped_query(self):
        self.check("llama_tied")

    def test_latent(self):
        self.check("mla")

    def test_prompts_in_small_chunks_beside_decodes(self):
        self.check("qwen2", "--max-step-tokens=16", "--max-running=48")


harness.main()
