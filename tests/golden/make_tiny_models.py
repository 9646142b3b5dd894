"""Writes tiny_models/: random models of two layers, each as a checkpoint folder or a GGUF file, with transformers' logits.

Usage: python make_tiny_models.py      (after make_tokenizers.py, whose tiny.tokenizer.json the models carry)

README.md says what each model is for. Needs torch, transformers 4.52.4, safetensors, gguf.
"""

import json
import shutil

import gguf
import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import golden

OUT = golden.HERE / "tiny_models"
TOKENIZER = golden.HERE / "tokenizers" / "tiny.tokenizer.json"
VOCABULARY = 400
PROMPT_LENGTHS = (1, 6, 33)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

COMMON = dict(
    vocab_size=VOCABULARY, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=394, eos_token_id=395,
)
GQA = dict(**COMMON, num_key_value_heads=2, head_dim=16, rope_theta=10000.0)
LLAMA3_SCALING = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)
MLA = dict(
    **COMMON, num_key_value_heads=4, kv_lora_rank=32, qk_rope_head_dim=8, qk_nope_head_dim=16, v_head_dim=12,
    first_k_dense_replace=2, rope_theta=10000.0, rope_interleave=True,
) | dict(rms_norm_eps=1e-6)  # transformers' latent norms use this constant and not the configuration's


def randomise(net, seed):
    """Weights large enough that attention is peaked and every part of the model moves the logits."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if "norm" in name:
            tensor.copy_(1 + 0.2 * noise)
        elif name.endswith("bias"):
            tensor.copy_(0.5 * noise)
        elif "embed_tokens" in name:
            tensor.copy_(noise)
        else:
            tensor.copy_(1.5 * noise / tensor.shape[-1] ** 0.5)
    return net.eval()


def write_reference(net, folder):
    """Logits of every position, for prompts of random ids."""
    rng = np.random.default_rng(7)
    prompts = [rng.integers(0, VOCABULARY, length).tolist() for length in PROMPT_LENGTHS]
    logits = {f"logits.{i}": net(torch.tensor([ids])).logits[0].numpy() for i, ids in enumerate(prompts)}
    save_file(logits, folder / "reference.safetensors")
    (folder / "reference.safetensors").chmod(0o644)
    golden.write_json(folder / "reference.json", {"prompts": prompts})


def checkpoint(name, net, dtype, seed, **save):
    """A Hugging Face folder. The weights are rounded to `dtype` first; the reference is computed from those in float32."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    randomise(net, seed)
    for tensor in net.state_dict().values():  # not net.to(dtype), which would round the rotary frequencies too
        tensor.copy_(tensor.to(dtype))
    state = {key: tensor.to(dtype) for key, tensor in net.state_dict().items()}
    if getattr(net.config, "q_lora_rank", 1) is None:
        state = {key.replace("q_b_proj", "q_proj"): tensor for key, tensor in state.items()}
    net.save_pretrained(folder, state_dict=state, **save)
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text()) | {"torch_dtype": str(dtype).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copy(TOKENIZER, folder / "tokenizer.json")
    config = {
        "bos_token": "<|bos|>", "eos_token": "<|eos|>", "chat_template": CHAT_TEMPLATE,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    for file in folder.iterdir():
        file.chmod(0o644)
    write_reference(net, folder)


def permute(weight, heads):
    """llama.cpp's order of rotary rows: pairs side by side, where Hugging Face has them half a head apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def unpermute(weight, heads):
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def gguf_names(layers):
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    parts = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }
    for layer in range(layers):
        for theirs, ours in parts.items():
            names[f"model.layers.{layer}.{theirs}.weight"] = f"blk.{layer}.{ours}.weight"
    return names


def write_gguf_metadata(writer, config):
    tokenizer = json.loads(TOKENIZER.read_text())
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    tokens = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    texts = [text for text, _ in tokens]
    texts += [added[i]["content"] for i in range(len(texts), VOCABULARY)]
    kinds = [1 if i not in added else 3 if added[i]["special"] else 4 for i in range(VOCABULARY)]
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def gguf_file(name, net, kind):
    """The llama `net` as a GGUF whose matrices are of `kind`; the reference uses the weights as stored."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = net.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    write_gguf_metadata(writer, config)
    names = gguf_names(config.num_hidden_layers)
    for theirs, tensor in net.state_dict().items():
        if theirs == "lm_head.weight" and config.tie_word_embeddings:
            continue
        weight = tensor.numpy()
        turned = next((count for part, count in heads.items() if part in theirs), None)
        weight = permute(weight, turned) if turned else weight
        stored_as = gguf.GGMLQuantizationType.F32 if weight.ndim == 1 else kind
        stored = gguf.quants.quantize(np.ascontiguousarray(weight), stored_as)
        writer.add_tensor(names[theirs], stored, raw_dtype=stored_as)
        read = gguf.quants.dequantize(stored, stored_as).reshape(weight.shape).astype(np.float32)
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(unpermute(read, turned) if turned else read)))
    if config.rope_scaling:
        plain = config.rope_theta ** (-np.arange(0, config.head_dim, 2) / config.head_dim)
        factors = (plain / net.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write_reference(net, folder)


def without_query_compression():
    """DeepSeek with q_lora_rank null. transformers 4.52.4 builds only the compressed form, so the two outer steps become
    identities and the inner one takes the hidden state; its weight is saved under the name that the layout gives it."""
    net = DeepseekV3ForCausalLM(DeepseekV3Config(**MLA, q_lora_rank=1, tie_word_embeddings=False))
    for layer in net.model.layers:
        attention = layer.self_attn
        attention.q_a_proj = attention.q_a_layernorm = torch.nn.Identity()
        attention.q_b_proj = torch.nn.Linear(MLA["hidden_size"], attention.q_b_proj.out_features, bias=False)
    net.config.q_lora_rank = None
    return net


def main():
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    llama = LlamaForCausalLM(LlamaConfig(**GQA, tie_word_embeddings=True))
    checkpoint("llama_tied", llama, torch.float32, 1)
    gguf_file("llama_tied_q8_0_gguf", llama, gguf.GGMLQuantizationType.Q8_0)

    scaled = LlamaForCausalLM(LlamaConfig(**GQA, tie_word_embeddings=False, rope_scaling=LLAMA3_SCALING))
    checkpoint("llama_untied_scaled_sharded", scaled, torch.bfloat16, 2, max_shard_size="100KB")
    gguf_file("llama_untied_scaled_f16_gguf", scaled, gguf.GGMLQuantizationType.F16)

    qwen = Qwen2ForCausalLM(Qwen2Config(**GQA, tie_word_embeddings=True))
    checkpoint("qwen2", qwen, torch.float16, 3)

    checkpoint("mla", without_query_compression(), torch.bfloat16, 4)
    mla_q = DeepseekV3ForCausalLM(DeepseekV3Config(**MLA, q_lora_rank=24, tie_word_embeddings=True))
    checkpoint("mla_q_lora", mla_q, torch.bfloat16, 5)


if __name__ == "__main__":
    main()
