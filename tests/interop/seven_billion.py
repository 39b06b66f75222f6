"""A checkpoint of the shape of xLSTM-7B with random weights in bf16: written, read by memory map, and decoded from.

Writes shards of one block each, without any other package than numpy. Peak memory is that of the carousel process.
"""

import argparse
import json
import pathlib
import resource
import shutil
import struct
import subprocess
import time

import numpy


def tensors(blocks, width, vocab):
    """Shards: names and shapes, by file."""
    ffn = int((width * 2.667 + 63) // 64) * 64
    heads, qk = 8, width // 2
    yield {"backbone.embeddings.weight": (vocab, width)}
    for block in range(blocks):
        inner = {"norm_mlstm.weight": (width,), "norm_ffn.weight": (width,)}
        layer = {"q.weight": (qk, width), "k.weight": (qk, width), "v.weight": (width, width),
                 "ogate_preact.weight": (width, width), "igate_preact.weight": (heads, width), "igate_preact.bias": (heads,),
                 "fgate_preact.weight": (heads, width), "fgate_preact.bias": (heads,), "multihead_norm.weight": (width,),
                 "out_proj.weight": (width, width)}
        feed = {"proj_up_gate.weight": (ffn, width), "proj_up.weight": (ffn, width), "proj_down.weight": (width, ffn)}
        inner |= {f"mlstm_layer.{name}": shape for name, shape in layer.items()}
        inner |= {f"ffn.{name}": shape for name, shape in feed.items()}
        yield {f"backbone.blocks.{block}.{name}": shape for name, shape in inner.items()}
    yield {"backbone.out_norm.weight": (width,), "lm_head.weight": (vocab, width)}


def write(folder, blocks, width, vocab):
    """The checkpoint; gives its bytes."""
    folder.mkdir(parents=True)
    shards = list(tensors(blocks, width, vocab))
    generator, where, total = numpy.random.default_rng(0), {}, 0
    for number, shard in enumerate(shards):
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        header, offset = {}, 0
        for name, shape in shard.items():
            size = 2 * int(numpy.prod(shape))
            header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
            where[name], offset = file, offset + size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(folder / file, "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            for name, shape in shard.items():
                values = generator.standard_normal(shape, dtype=numpy.float32)
                values = 1 + 0.1 * values if len(shape) == 1 else values * shape[-1] ** -0.5
                out.write((values.view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes())
        total += offset
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {"model_type": "xlstm", "vocab_size": vocab, "hidden_size": width, "num_hidden_layers": blocks, "num_heads": 8,
              "qk_dim_factor": 0.5, "v_dim_factor": 1.0, "ffn_proj_factor": 2.667, "ffn_round_up_to_multiple_of": 64,
              "weight_mode": "single", "use_bias": False, "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="where the checkpoint is written; it is removed afterwards")
    parser.add_argument("--carousel", default="target/release/carousel")
    parser.add_argument("--blocks", type=int, default=32)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--vocab", type=int, default=50304)
    parser.add_argument("--tokens", type=int, default=4, help="how many to decode")
    parser.add_argument("--threads", default="1")
    options = parser.parse_args()
    try:
        size = write(options.folder, options.blocks, options.width, options.vocab)
        print(f"wrote {size / 1e9:.1f} GB")
        for count in (1, options.tokens):
            command = [options.carousel, "generate", "--checkpoint", options.folder, "--tokens", "17", "--temperature", "0",
                       "--max-tokens", str(count), "--threads", options.threads]
            started = time.time()
            done = subprocess.run(command, capture_output=True, text=True)
            print(f"{count} tokens: {done.stdout.strip()}{done.stderr} in {time.time() - started:.1f} s")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        print(f"peak resident memory {peak:.2f} GB, mapped files included")
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
