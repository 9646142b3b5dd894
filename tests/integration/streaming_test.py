"""The stream contract of Generate, as a client in another language sees it."""
import unittest

import harness
from harness import pb, request
from transmla.v1 import model_pb2

PROMPTS = ["The sea is", "def main():\n", "naïve café 🙂 日本語", "a"]


class StreamingTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(harness.Server("llama_tied"))

    def test_deltas_joined_are_the_unary_text(self):
        for prompt in PROMPTS:
            with self.subTest(prompt=prompt):
                message = request(prompt, 40, output=pb.OutputOptions(token_ids=True))
                streamed = self.server.generate(message)
                whole = self.server.once(message)
                self.assertEqual(list(streamed.finished), [0])
                self.assertEqual(streamed.text, whole.completions[0].text)
                self.assertEqual(streamed.tokens[0], [token.id for token in whole.completions[0].tokens])
                self.assertEqual(streamed.usage, whole.usage)
                self.assertEqual(streamed.usage.completion_tokens, len(streamed.tokens[0]))

    def test_the_text_is_the_tokens_text(self):
        result = self.server.generate(request("The sea is", 60, output=pb.OutputOptions(token_ids=True), endless=True))
        text = self.server.generation.Detokenize(pb.DetokenizeRequest(ids=result.tokens[0])).text
        self.assertEqual(result.text, text)
        self.assertEqual(result.finished[0].reason, pb.FINISH_REASON_LENGTH)

    def test_every_index_finishes_once(self):
        message = request("The sea is", 20, greedy=False)
        message.sampling.num_sequences = 5
        message.sampling.seed = 11
        streamed = self.server.generate(message)
        self.assertEqual(sorted(streamed.finished), [0, 1, 2, 3, 4])
        self.assertEqual([streamed.finished[i].seed for i in range(5)], [11, 12, 13, 14, 15])
        self.assertGreater(len(set(streamed.texts.values())), 1, "sequences of one request differ")
        whole = self.server.once(message)
        self.assertEqual([completion.text for completion in whole.completions],
                         [streamed.texts.get(i, "") for i in range(5)])

    def test_a_reported_seed_gives_the_text_again(self):
        first = self.server.generate(request("The sea is", 30, greedy=False))
        again = request("The sea is", 30, greedy=False)
        again.sampling.seed = first.finished[0].seed
        self.assertEqual(self.server.generate(again).text, first.text)

    def test_text_token_ids_and_conversations_are_prompts(self):
        ids = self.server.generation.Tokenize(pb.TokenizeRequest(text="The sea is")).ids
        by_text = self.server.generate(request("The sea is", 20))
        by_ids = self.server.generate(request(ids=ids, max_tokens=20))
        self.assertEqual(by_text.text, by_ids.text)
        self.assertEqual(by_ids.accepted.prompt_tokens, len(ids))

        chat = pb.ChatPrompt(messages=[pb.ChatMessage(role="user", content="Hello")])
        rendered = self.server.generation.Tokenize(pb.TokenizeRequest(chat=chat))
        self.assertEqual(rendered.rendered, "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
        by_chat = self.server.generate(request(None, 20, chat=chat))
        self.assertEqual(by_chat.text, self.server.generate(request(ids=rendered.ids, max_tokens=20)).text)

    def test_a_stop_string_ends_the_text_before_it(self):
        whole = self.server.generate(request("The sea is", 60, endless=True)).text
        stop = whole[len(whole) // 2:][:4]
        message = request("The sea is", 60, endless=True)
        message.stop.stop_strings.append(stop)
        stopped = self.server.generate(message)
        self.assertEqual(stopped.text, whole[:whole.index(stop)])
        self.assertEqual(stopped.finished[0].reason, pb.FINISH_REASON_STOP)
        self.assertEqual(stopped.finished[0].text, stop)
        message.stop.include_stop = True
        self.assertEqual(self.server.generate(message).text, whole[:whole.index(stop) + len(stop)])

    def test_rules_change_what_is_drawn(self):
        def drawn(**rules):
            message = request("The sea is", 60, endless=True, output=pb.OutputOptions(token_ids=True))
            message.sampling.MergeFrom(pb.SamplingOptions(**rules))
            return self.server.generate(message).tokens[0]

        plain = drawn()
        self.assertEqual(set(drawn(allowed_token_ids=[7, 9, 11])) - {7, 9, 11}, set())
        self.assertEqual(set(drawn(logit_bias={33: 100})), {33})
        self.assertNotIn(plain[0], drawn(logit_bias={plain[0]: -100}))
        # No token twice where the penalty is above every difference of logits.
        once = drawn(presence_penalty=2, frequency_penalty=2, repetition_penalty=10)
        self.assertGreater(len(set(once)), len(set(plain)))
        self.assertEqual(drawn(presence_penalty=0, frequency_penalty=0, repetition_penalty=1), plain)

    def test_a_stop_token_ends_the_text(self):
        message = request("The sea is", 60, endless=True, output=pb.OutputOptions(token_ids=True))
        whole = self.server.generate(message).tokens[0]
        message.stop.stop_token_ids.append(whole[7])
        stopped = self.server.generate(message)
        end = whole.index(whole[7])
        self.assertEqual(stopped.tokens[0][:end], whole[:end])
        self.assertEqual(stopped.finished[0].token_id, whole[7])

    def test_logprobs_are_those_of_the_most_likely(self):
        message = request("The sea is", 10, endless=True, output=pb.OutputOptions(logprobs=3))
        completion = self.server.once(message).completions[0]
        self.assertEqual(len(completion.tokens), 10)
        for token in completion.tokens:
            self.assertEqual(len(token.top), 3)
            self.assertLess(token.logprob, 0)
            # Greedy: the drawn token is the most likely one.
            self.assertEqual(token.top[0].id, token.id)
            self.assertAlmostEqual(token.top[0].logprob, token.logprob, places=5)
            self.assertGreaterEqual(token.top[1].logprob, token.top[2].logprob)

    def test_timings_add_up(self):
        timings = self.server.generate(request("The sea is", 50, endless=True)).finished[0].timings
        self.assertGreater(timings.decode_ms, 0)
        self.assertAlmostEqual(timings.queue_ms + timings.prefill_ms + timings.decode_ms, timings.total_ms, delta=1)

    def test_the_model_is_described(self):
        model = self.server.models.GetModel(model_pb2.GetModelRequest()).model
        self.assertEqual(model.name, "llama_tied")
        self.assertEqual(model.state, model_pb2.Model.STATE_READY)
        self.assertEqual((model.attention, model.num_layers, model.num_key_value_heads), ("gqa", 2, 2))
        self.assertEqual(model.max_context_tokens, 512)
        # Two layers of keys and values of two heads of 16 in BF16.
        self.assertEqual(model.cache_bytes_per_token, 2 * 2 * 2 * 16 * 2)
        self.assertEqual(list(self.server.models.ListModels(model_pb2.ListModelsRequest()).models), [model])


harness.main()
