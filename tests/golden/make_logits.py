"""Writes logits/<model>.json: what transformers computes for 20 prompts, in float32 from the same GGUF.

Usage: python make_logits.py --model smollm2 [--eval eval.txt] [--full FOLDER]

--eval adds the perplexity of 40 x 512 tokens; --full keeps every prompt's whole logits (float32, little endian, last
position) as FOLDER/<model>.<prompt>.f32. README.md says what the fields mean. Needs torch, transformers 4.52.4, gguf.
"""

import argparse
import math
import pathlib

import torch

import golden

GREEDY_STEPS = 64
TOP = 50
SAMPLED = 2000
EVAL_SEQUENCES, EVAL_LENGTH = 40, 512

STORY = (
    "The lighthouse keeper counted the ships every evening, first by their lamps and later by the sound of their bells. "
    "On the night of the great storm he counted eleven, although only ten had left the harbour. He climbed the stairs "
    "twice to be certain, wiped the glass with his sleeve, and wrote the number into the ledger with a question mark. "
)
CODE = (
    "class RingBuffer:\n    \"\"\"A fixed-size queue that overwrites its oldest entry.\"\"\"\n\n"
    "    def __init__(self, capacity):\n        if capacity < 1:\n            raise ValueError(\"capacity must be positive\")\n"
    "        self._items = [None] * capacity\n        self._start = 0\n        self._size = 0\n\n"
    "    def push(self, item):\n        end = (self._start + self._size) % len(self._items)\n        self._items[end] = item\n"
    "        if self._size == len(self._items):\n            self._start = (self._start + 1) % len(self._items)\n"
    "        else:\n            self._size += 1\n\n    def pop(self):\n"
)


def chat(*turns):
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    return text + "<|im_start|>assistant\n"


PROMPTS = {
    "capital": "The capital of France is",
    "count": "1, 2, 3, 4, 5,",
    "definition": "Gravity is a force that",
    "physics": "In quantum mechanics, the uncertainty principle states that the position and the momentum of a particle",
    "story": STORY,
    "story_long": STORY * 4,
    "recipe": "Ingredients:\n- 2 cups of flour\n- 1 cup of sugar\n- 3 eggs\n\nInstructions:\n1.",
    "code_python": "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "code_class": CODE,
    "code_c": "#include <stdio.h>\n\nint main(int argc, char **argv) {\n    for (int i = 0; i < argc; i++) {\n",
    "sql": "-- The ten customers with the highest revenue in 2023\nSELECT",
    "json": "{\"name\": \"Ada Lovelace\", \"born\": 1815, \"fields\": [\"mathematics\",",
    "chat_plain": chat(("user", "What is the difference between a list and a tuple in Python?")),
    "chat_system": chat(("system", "You answer in one short sentence."), ("user", "Why is the sky blue?")),
    "chat_turns": chat(
        ("system", "You are a helpful assistant."),
        ("user", "Name a planet with rings."),
        ("assistant", "Saturn is famous for its rings."),
        ("user", "And one without?"),
    ),
    "chat_code": chat(("user", "Explain this code:\n```python\n" + CODE + "```")),
    "german": "Die Hauptstadt von Deutschland ist Berlin. Die Stadt liegt an der Spree und",
    "chinese": "人工智能是计算机科学的一个分支,它",
    "russian": "Москва является столицей России и крупнейшим городом страны. В городе",
    "mixed": "Émile said «ça va?» 🙂 and then 東京 (Tōkyō) — 12,345.67 € …\n\n\tNext:",
}


def prompt_entry(net, model, text, full):
    ids = golden.encode(model, text, parse_special=True)
    output = net(torch.tensor([ids]), use_cache=True)
    logits = output.logits[0, -1].clone()
    if full:
        full.write_bytes(logits.numpy().astype("<f4").tobytes())
    top = torch.topk(logits, TOP)
    stride = len(logits) // SAMPLED
    greedy, gaps = [], []
    for step in range(GREEDY_STEPS):
        best = torch.topk(output.logits[0, -1], 2)
        greedy.append(int(best.indices[0]))
        gaps.append(round(float(best.values[0] - best.values[1]), 6))
        if step + 1 < GREEDY_STEPS:
            output = net(torch.tensor([greedy[-1:]]), past_key_values=output.past_key_values, use_cache=True)
    return {
        "text": text,
        "ids": ids,
        "mean": float(logits.double().mean()),
        "norm": float(logits.double().norm()),
        "top_ids": top.indices.tolist(),
        "top_logits": [round(value, 6) for value in top.values.tolist()],
        "sample_stride": stride,
        "sample_logits": [round(value, 5) for value in logits[::stride].tolist()],
        "greedy_ids": greedy,
        "greedy_gaps": gaps,
        "greedy_text": golden.decode(model, greedy),
    }


def perplexity(net, ids):
    block = torch.tensor(ids[: EVAL_SEQUENCES * EVAL_LENGTH]).view(EVAL_SEQUENCES, EVAL_LENGTH)
    total = 0.0
    for rows in torch.split(block, 2):
        logits = net(rows, use_cache=False).logits[:, :-1].flatten(0, 1)
        total += torch.nn.functional.cross_entropy(logits, rows[:, 1:].flatten(), reduction="sum").item()
    return math.exp(total / (EVAL_SEQUENCES * (EVAL_LENGTH - 1)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, choices=golden.MODELS)
    parser.add_argument("--eval", type=pathlib.Path)
    parser.add_argument("--full", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    model = golden.MODELS[args.model]
    net = golden.load_model(model)
    result = {"model": {"file": model.file, "sha256": golden.sha256(model.path)}}
    if args.full:
        args.full.mkdir(parents=True, exist_ok=True)
    for name, text in PROMPTS.items():
        entry = prompt_entry(net, model, text, args.full and args.full / f"{args.model}.{name}.f32")
        result[name] = entry
        print(f"{name}: {len(entry['ids'])} tokens, smallest gap {min(entry['greedy_gaps'])}: {entry['greedy_text']!r}"[:300], flush=True)
    if args.eval:
        ids = golden.encode(model, args.eval.read_text(encoding="utf-8"))
        result["perplexity"] = {
            "sequences": EVAL_SEQUENCES, "length": EVAL_LENGTH, "value": perplexity(net, ids),
            "text_sha256": golden.sha256(args.eval), "tokens_of_the_text": len(ids), "first_ids": ids[:16],
        }
        print(result["perplexity"])
    golden.write_json(golden.HERE / "logits" / f"{args.model}.json", result)


if __name__ == "__main__":
    main()
