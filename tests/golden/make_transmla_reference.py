"""Runs TransMLA's published converter on a source model and records what the C++ conversion is compared with.

  git clone https://github.com/fxmeng/TransMLA PATH
  python make_transmla_reference.py --transmla PATH/transmla/transmla --model smollm2 \\
      --calibration calibration.txt --eval eval.txt
  python make_transmla_reference.py --transmla PATH/transmla/transmla --model smollm2 --own-text

With --own-text the model writes a few short sequences itself, and their ids and every layer's bases are recorded: a
reference that needs no text, for a test. The published modules are imported from PATH and run unchanged; this script only gives them token ids in place of their
data sets, and watches. docs/conversion.md, section 9, says what the recorded numbers mean. Needs torch, transformers 4.52.4,
datasets (imported by the published code, not used), safetensors, tokenizers, gguf; about 10 GB of memory.
"""

import argparse
import copy
import gc
import importlib
import math
import resource
import sys
import time

import numpy as np
import torch
from safetensors.numpy import save_file

import golden

CALIBRATION_SEQUENCES, CALIBRATION_LENGTH = 128, 256
EVAL_SEQUENCES, EVAL_LENGTH = 40, 512
SEARCH_SEQUENCES = 20  # of the evaluation text, for the choice of freqfold

SETTINGS = {
    "smollm2": [(64, 128), (32, 160), (32, 96), (16, 80), (16, 32)],
    "qwen": [(32, 96), (32, 32), (16, 48)],
}

# With --own-text: sequences x tokens, and the one setting.
OWN_CALIBRATION, OWN_EVAL = (16, 256), (4, 512)
OWN_SETTING = (16, 32)


def batches(ids, sequences, length, batch):
    if len(ids) < sequences * length:
        raise SystemExit(f"the text has {len(ids)} tokens, needs {sequences} x {length}")
    block = torch.tensor(ids[: sequences * length]).view(sequences, length)
    return [
        {"input_ids": part, "attention_mask": torch.ones_like(part)} for part in torch.split(block, batch)
    ]


def sampled_ids(model, sequences, length, seed):
    """Ids of sequences that `model` writes from a random first token, one after the other."""
    torch.manual_seed(seed)
    first = torch.randint(0, model.config.vocab_size, (sequences, 1))
    text = model.generate(
        first, attention_mask=torch.ones_like(first), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
        min_new_tokens=length - 1, max_new_tokens=length - 1, pad_token_id=0,
    )
    return text.flatten().tolist()


class Published:
    """The published modules, with the places where this script watches."""

    def __init__(self, path):
        sys.path.insert(0, path)
        self.utils = importlib.import_module("utils")
        self.partial_rope = importlib.import_module("partial_rope")
        self.lora_qkv = importlib.import_module("lora_qkv")
        self.search = {}
        self.layers = []
        self._watch_search()
        self._watch_layers()

    def _watch_search(self):
        calibrate, evaluate = self.utils.get_qkv_calibrate_outputs, self.utils.evaluate_ppl
        kept = {}

        def keys_only(model, loader, message):
            # The first stage reads the keys of the untouched model and nothing else: made once, kept small.
            if not kept:
                kept["key"] = calibrate(model, loader, message)["key"]
            return kept

        def record(model, pad, loader, message):
            result = evaluate(model, pad, loader, message)
            self.search[int(message.rsplit("=", 1)[1])] = result
            return result

        self.partial_rope.get_qkv_calibrate_outputs = keys_only
        self.partial_rope.evaluate_ppl = record

    def _watch_layers(self):
        published = self.lora_qkv.LoraQKV
        pca = self.lora_qkv.pca_calc
        records = self.layers

        def recorded_pca(samples, device):
            vectors = pca(samples, device)
            moment = sum(torch.sum(part.double().mT @ part.double(), dim=0) for part in samples)
            records.append({"vectors": vectors, "energies": (vectors * (moment @ vectors)).sum(0)})
            return vectors

        class Watched(published):
            def __init__(self, attention, queries, keys, values, **options):
                before = attention.k_up_proj.weight.data.clone()
                super().__init__(attention, queries, keys, values, **options)
                ratio = attention.k_up_proj.weight.data[:, -1].norm() / before[:, -1].norm()
                records[-1].update(
                    k_up=before, ratio=float(ratio), rope=options["qk_mqa_dim"], heads=self.num_attention_heads,
                    head_dim=self.head_dim,
                )

        self.lora_qkv.pca_calc = recorded_pca
        self.lora_qkv.LoraQKV = Watched


def key_rotation(record):
    """The L x L orthogonal matrix Q with k' = k Q: one query head's rows of k_up for each key head."""
    latent = record["k_up"].shape[1]
    group = record["heads"] * record["head_dim"] // latent
    return record["k_up"].view(-1, group, record["head_dim"], latent)[:, 0].reshape(latent, latent)


def bases(record, rank):
    """Orthonormal columns: the rope keys' (L x R) and the latent's (2L x rank), in the source's own coordinates."""
    rotation = key_rotation(record).double()
    rope = record["rope"]
    latent = rotation.shape[0]
    vectors = record["vectors"][:, :rank]
    keys = rotation[:, rope:] @ vectors[: latent - rope]
    return {
        "rope_basis": rotation[:, :rope].float(),
        "latent_basis": torch.cat([keys, vectors[latent - rope :]]).float(),
        "latent_energies": (record["energies"] / record["energies"].sum()).float(),
    }


def convert_rope_width(published, source, rope, ranks, calibration, eval_batches, search_batches):
    """One rope width: searches freqfold, then converts at every rank. Returns the rows and the per-layer records."""
    head_dim = source.config.head_dim
    collapse = head_dim // rope
    published.search.clear()
    partial, freqfold = published.partial_rope.partial_rope(
        copy.deepcopy(source), PAD, calibration, search_batches, freqfold="auto", collapse=collapse
    )
    searched = dict(published.search)
    partial_ppl = published.utils.evaluate_ppl(partial, None, eval_batches, "partial rope, whole text")
    outputs = published.lora_qkv.get_qkv_calibrate_outputs(partial, calibration, "calibration II")
    for name in ("query", "q_a_proj", "kv_a_proj"):  # only q_lora_rank reads these
        outputs[name] = dict.fromkeys(range(len(partial.model.layers)))
    published.lora_qkv.get_qkv_calibrate_outputs = lambda *_: outputs
    rows, records = [], []
    for rank in ranks:
        published.layers.clear()
        model = published.lora_qkv.low_rank_qkv(
            copy.deepcopy(partial), PAD, None, None, q_lora_rank=None, qk_mqa_dim=rope, collapse=collapse,
            kv_lora_rank=rank, use_qkv_norm=False, balance_kv_ratio=1,
        )
        ppl = published.utils.evaluate_ppl(model, None, eval_batches, f"converted {rope}+{rank}")
        rows.append({
            "qk_rope_head_dim": rope, "kv_lora_rank": rank, "freqfold": freqfold,
            "search_perplexity": {str(key): value for key, value in searched.items()},
            "partial_rope_perplexity": partial_ppl, "perplexity": ppl,
            "balance_ratio": [record["ratio"] for record in published.layers],
            "energy_kept": [float(r["energies"][:rank].sum() / r["energies"].sum()) for r in published.layers],
        })
        print(rows[-1], flush=True)
        records = list(published.layers)
        del model
        gc.collect()
    published.lora_qkv.get_qkv_calibrate_outputs = published.utils.get_qkv_calibrate_outputs
    return rows, records


class PAD:
    """Stands for the published code's tokenizer: only its padding token is read, and there is none."""

    pad_token_id = None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transmla", required=True, help="folder with the published partial_rope.py and lora_qkv.py")
    parser.add_argument("--model", required=True, choices=SETTINGS)
    parser.add_argument("--calibration", help="calibration text")
    parser.add_argument("--eval", help="evaluation text")
    parser.add_argument("--own-text", action="store_true", help="the model writes its own, short texts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--all-layers", help="also write every layer's bases (float32) into this safetensors file")
    args = parser.parse_args()
    if not args.own_text and not (args.calibration and args.eval):
        parser.error("give --calibration and --eval, or --own-text")
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)

    model = golden.MODELS[args.model]
    batch = 4 if args.model == "smollm2" else 2
    source = golden.load_model(model)
    if getattr(source.config, "head_dim", None) is None:
        source.config.head_dim = source.config.hidden_size // source.config.num_attention_heads
    name = args.model
    settings = SETTINGS[args.model]
    calibration_shape, eval_shape = (CALIBRATION_SEQUENCES, CALIBRATION_LENGTH), (EVAL_SEQUENCES, EVAL_LENGTH)
    if args.own_text:
        name += "_small"
        settings = [OWN_SETTING]
        calibration_shape, eval_shape = OWN_CALIBRATION, OWN_EVAL
        calibration_ids = sampled_ids(source, *calibration_shape, seed=1)
        eval_ids = sampled_ids(source, *eval_shape, seed=2)
    else:
        read = lambda path: golden.encode(model, open(path, encoding="utf-8").read())
        calibration_ids = read(args.calibration)
        eval_ids = read(args.eval)
    calibration = batches(calibration_ids, *calibration_shape, 2 * batch)
    eval_batches = batches(eval_ids, *eval_shape, batch)
    # The published search looks at evaluation text; our converter has none, so its test searches on calibration text.
    search_batches = calibration if args.own_text else batches(eval_ids, SEARCH_SEQUENCES, EVAL_LENGTH, batch)
    published = Published(args.transmla)

    start = time.monotonic()
    result = {
        "source_perplexity": published.utils.evaluate_ppl(source, None, eval_batches, "source"),
        "calibration_first_ids": calibration_ids[:16],
        "calibration_tokens": len(calibration_ids),
        "eval_first_ids": eval_ids[:16],
        "eval_tokens": len(eval_ids),
        "settings": [],
    }
    if args.own_text:
        result["calibration"] = torch.tensor(calibration_ids).view(calibration_shape).tolist()
        result["evaluation"] = torch.tensor(eval_ids).view(eval_shape).tolist()
    print(result["source_perplexity"], flush=True)
    widths = list(dict.fromkeys(rope for rope, _ in settings))
    layers = source.config.num_hidden_layers
    committed, everything = {}, {}
    for rope in widths:
        ranks = [rank for width, rank in settings if width == rope]
        rows, records = convert_rope_width(
            published, source, rope, ranks, calibration, eval_batches, search_batches
        )
        result["settings"] += rows
        chosen = {0, layers // 2, layers - 1} if rope == widths[0] else {layers // 2}
        for layer, record in enumerate(records):
            for part, tensor in bases(record, max(ranks)).items():
                key = f"rope{rope}.layer{layer}.{part}"
                everything[key] = tensor.numpy()
                if args.own_text or layer in chosen:
                    committed[key] = tensor.numpy().astype(np.float32 if tensor.dim() == 1 else np.float16)
        golden.write_json(golden.HERE / "transmla" / f"{name}.json", result)
        save_file(committed, golden.HERE / "transmla" / f"{name}.safetensors")
        if args.all_layers:
            save_file(everything, args.all_layers)
        records.clear()
        gc.collect()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{time.monotonic() - start:.0f} s, peak {peak:.1f} GiB, {math.log(result['source_perplexity']):.4f}")


if __name__ == "__main__":
    main()
