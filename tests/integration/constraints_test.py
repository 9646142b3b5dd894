"""Constrained output and the other rules of what is generated, against independent judges of the results."""
import json
import re
import unittest

import grpc

import documents
import harness
from documents import sampled
from harness import pb, request
from schemas import SCHEMAS

SEEDS = 9


class ConstraintsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server("llama_tied", context=8192)

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()

    def test_json_schemas(self):
        documents.check(self, self.server, SEEDS)

    def test_regular_expressions(self):
        for pattern in (r"\d{3}-\d{4}", r"(yes|no), (very|not) [a-z]{2,9}\.", "[α-ω]{4}|[^\\x00-\\x7f]{2}", r"^\s?\S{5}$"):
            for seed in range(5):
                text = self.server.generate(sampled(seed, constraint=pb.OutputConstraint(regex=pattern))).text
                self.assertIsNotNone(re.fullmatch(pattern, text), (pattern, text))

    def test_grammars(self):
        grammar = 'root ::= sum\nsum ::= term ([-+*] term){1,3}\nterm ::= [1-9] [0-9]{0,2} | "(" term "+" term ")"\n'
        for seed in range(5):
            text = self.server.generate(sampled(seed, constraint=pb.OutputConstraint(grammar=grammar))).text
            self.assertRegex(text, r"^[-+*()0-9]+$")
            eval(text)  # pylint: disable=eval-used

    def test_choices(self):
        texts = ["maybe", "may", "never", "日本"]
        constraint = pb.OutputConstraint(choice=pb.OutputConstraint.Choices(texts=texts))
        for seed in range(12):
            self.assertIn(self.server.generate(sampled(seed, constraint=constraint)).text, texts)

    def test_any_object(self):
        message = sampled(1, constraint=pb.OutputConstraint(json_object=True))
        # Strings of a model of random weights hardly ever end by themselves.
        message.stop.max_tokens = 60
        text = self.server.generate(message).text
        self.assertTrue(text.startswith("{"))

    def test_greedy_and_in_company(self):
        """A constraint of one is no constraint of another in the same step."""
        schema = json.dumps(SCHEMAS["nested"])
        message = sampled(3, constraint=pb.OutputConstraint(json_schema=schema))
        alone = self.server.generate(message).text
        calls = [self.server.stream(sampled(3, constraint=pb.OutputConstraint(json_schema=schema)) if k % 2 else
                                    request("Free:", 50, endless=True)) for k in range(8)]
        texts = [harness.read(call).text for call in calls]
        self.assertEqual({text for k, text in enumerate(texts) if k % 2}, {alone})
        self.assertEqual(len({text for k, text in enumerate(texts) if not k % 2}), 1)

    def test_bad_words_never_come_up(self):
        plain = self.server.generate(request("Once", 60, endless=True)).text
        # Half a character, shown as U+FFFD, is no text that could be banned.
        words = re.findall("[^\ufffd]{3}", plain)[:2] + re.findall("[^\ufffd]", plain)[-1:]
        message = request("Once", 60, endless=True)
        message.sampling.bad_words.extend(words)
        text = self.server.generate(message).text
        self.assertNotEqual(text, plain)
        for word in words:
            self.assertNotIn(word, text)

    def test_a_constraint_that_is_wrong(self):
        cases = {
            "constraint.json_schema": pb.OutputConstraint(json_schema='{"type": "thing"}'),
            "constraint.regex": pb.OutputConstraint(regex="(a"),
            "constraint.grammar": pb.OutputConstraint(grammar="root ::= root \"a\""),
            "constraint.choice": pb.OutputConstraint(choice=pb.OutputConstraint.Choices()),
        }
        for field, constraint in cases.items():
            failure = harness.failure(lambda c=constraint: self.server.generate(sampled(1, constraint=c)))
            self.assertEqual(failure.code, grpc.StatusCode.INVALID_ARGUMENT)
            self.assertEqual(failure.fields, [field])


class OutputTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server("mla", "--max-step-tokens=50", context=8192)

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()

    def test_guessed_tokens_change_nothing(self):
        text = "one two three one two three one two three one two"
        for greedy in (True, False):
            results = {}
            for drafts in (0, 1, 5, 16):
                message = request(text, 80, endless=True, greedy=greedy, draft_tokens=drafts,
                                  output=pb.OutputOptions(token_ids=True, logprobs=2))
                message.sampling.seed = 7
                before = self.server.metrics()
                result = self.server.generate(message)
                self.server.wait_until_idle()
                after = self.server.metrics()
                results[drafts] = (result.text, [(t.id, t.logprob) for m in result.messages
                                                 for t in m.chunk.tokens])
                for name in ("draft_tokens", "accepted_draft_tokens", "steps"):
                    key = f"transmla_{name}_total"
                    results[drafts, name] = after[key] - before[key]
            for drafts in (1, 5, 16):
                self.assertEqual(results[drafts], results[0])
            if greedy:  # a greedy model of random weights soon repeats itself
                self.assertGreater(results[5, "accepted_draft_tokens"], 3)
                self.assertLess(results[5, "steps"], results[0, "steps"])

    def test_log_probabilities_of_the_prompt(self):
        ids = list(range(40, 240))
        message = request(ids=ids, max_tokens=5, endless=True,
                          output=pb.OutputOptions(token_ids=True, logprobs=3, prompt_logprobs=3, echo=True))
        self.server.generate(request(ids=ids, max_tokens=1))  # cached pages have no logits
        result = self.server.generate(message)
        infos = [m.prompt for m in result.messages if m.HasField("prompt")]
        tokens = [token for info in infos for token in info.tokens]
        self.assertEqual([token.id for token in tokens], ids)
        self.assertFalse(tokens[0].HasField("logprob"))
        detokenized = self.server.generation.Detokenize(pb.DetokenizeRequest(ids=ids)).text
        self.assertEqual("".join(info.text for info in infos), detokenized)
        # The same numbers as when the model is asked for the token behind each beginning.
        for size in (1, 63, 64, 150, 199):
            beginning = request(ids=ids[:size], max_tokens=1, output=pb.OutputOptions(token_ids=True, logprobs=3))
            beginning.sampling.allowed_token_ids.append(ids[size])
            chunk = next(m.chunk for m in self.server.generate(beginning).messages if m.HasField("chunk"))
            self.assertEqual(chunk.tokens[0].logprob, tokens[size].logprob)
            self.assertEqual(list(chunk.tokens[0].top), list(tokens[size].top))

    def test_best_of(self):
        def ask(**sampling):
            message = request("The sea", 12, greedy=False, endless=True, output=pb.OutputOptions(token_ids=True, logprobs=0))
            message.sampling.seed = 5
            for name, value in sampling.items():
                setattr(message.sampling, name, value)
            return message

        def mean(completion):
            return sum(token.logprob for token in completion.tokens) / len(completion.tokens)

        everyone = self.server.once(ask(num_sequences=6)).completions
        best = self.server.once(ask(num_sequences=2, best_of=6)).completions
        ranked = sorted(everyone, key=mean, reverse=True)
        self.assertEqual([c.text for c in best], [c.text for c in ranked[:2]])
        failure = harness.failure(lambda: self.server.generate(ask(best_of=2)))
        self.assertEqual(failure.fields, ["sampling.best_of"])

    def test_salts_keep_beginnings_apart(self):
        text = "a long beginning that two tenants share " * 8

        def cached(salt):
            message = request(text, 1, cache=pb.CacheOptions(cache_salt=salt), tenant="t" + salt)
            return self.server.generate(message).usage.cached_prompt_tokens

        self.assertEqual(cached("x"), 0)
        self.assertEqual(cached("y"), 0)
        self.assertGreater(cached("x"), 0)
        self.assertEqual(cached(""), 0)
        self.assertGreater(cached(""), 0)


harness.main()
