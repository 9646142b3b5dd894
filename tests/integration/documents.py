"""Documents that a server writes for the schemas of schemas.py, judged by Python's jsonschema."""
import concurrent.futures
import json

import jsonschema

from harness import pb, request
from schemas import SCHEMAS

AT_ONCE = 8
PATIENCE_S = 600  # a real model takes its time, with others beside it


def judge_of(schema):
    draft = jsonschema.Draft7Validator if "definitions" in schema else jsonschema.Draft202012Validator
    return draft(schema, format_checker=jsonschema.FormatChecker())


def sampled(seed, max_tokens=2000, **fields):
    message = request("Answer:", max_tokens, greedy=False, **fields)
    message.sampling.temperature = 1
    message.sampling.seed = seed
    return message


def write(server, schema, seed):
    message = sampled(seed, constraint=pb.OutputConstraint(json_schema=json.dumps(schema)))
    return server.generate(message, timeout=PATIENCE_S)


def check(test, server, seeds, endless=()):
    """Every schema is asked for that often, several at a time; each answer must end by itself, parse and be valid.

    Of the schemas named in `endless` it may run into the limit of tokens instead; 200 must be valid all the same."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        answers = [(name, seed, pool.submit(write, server, schema, seed))
                   for name, schema in SCHEMAS.items() for seed in range(seeds)]
    valid = 0
    for name, seed, answer in answers:
        with test.subTest(schema=name, seed=seed):
            result = answer.result()
            if name in endless and result.finished[0].reason == pb.FINISH_REASON_LENGTH:
                continue
            test.assertEqual(result.finished[0].reason, pb.FINISH_REASON_STOP, result.text[:200])
            judge_of(SCHEMAS[name]).validate(json.loads(result.text))
            valid += 1
    print(f"{valid} documents of {len(SCHEMAS)} schemas are valid")
    test.assertGreaterEqual(valid, 200)
