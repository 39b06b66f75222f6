"""Draws configurations, makes checkpoints with the public implementations, and compares logits with ours; then writes each
checkpoint anew for the program that it came from, which has to give the same logits again.

The README beside this file says how to run it. Exit status 1 if any case differs by more than the tolerance.
"""

import argparse
import importlib
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy
from safetensors.numpy import load_file, save_file

FAMILIES = {"large": "transformers", "package": "xlstm"}
TOLERANCE = 1e-4


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def ours(carousel, folder, tokens, piece):
    """The logits of `carousel logits`, read at once or in pieces."""
    out = folder / "logits.out"
    command = [carousel, "logits", "--checkpoint", folder, "--tokens", ",".join(map(str, tokens)), "--out", out]
    run(*command, *(["--piece", str(piece)] if piece else []))
    return load_file(out)["logits"]


def written(carousel, folder, program, module, tokens):
    """The logits that a program gives for a checkpoint of its own that was read, kept as ours, and written for it."""
    own, back = folder / "own", folder / "back"
    run(carousel, "convert", "--checkpoint", folder, "--to", "carousel", "--out", own)
    run(carousel, "convert", "--checkpoint", own, "--to", program, "--out", back)
    return module.logits(back, tokens)


def difference(found, expected):
    """The largest difference, relative to the largest logit."""
    if found.shape != expected.shape:
        raise RuntimeError(f"shape {found.shape}, expected {expected.shape}")
    return float(numpy.abs(found - expected).max() / numpy.abs(expected).max())


def fixture(folder):
    """A checkpoint of the package that has a bit of everything, with its tokens and logits beside it."""
    module, rng = importlib.import_module("package"), random.Random("fixture")
    settings = dict(vocab_size=17, embedding_dim=16, num_blocks=3, heads=2, slstm_at=[1], bias=True, tie_weights=False,
                    add_post_blocks_norm=True, mlstm_conv=3, qkv_proj_blocksize=4, mlstm_proj_factor=1.5, slstm_conv=4,
                    feedforward=True, ffn_bias=False, group_norm_weight=True, act_fn="relu^2", ffn_proj_factor=1.3, round_to=8)
    tokens, logits, _ = module.make(settings, folder, rng)
    golden = {"in.input_ids": numpy.array([tokens]), "out.logits": logits[None]}
    save_file(golden, folder / "golden.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--carousel", default="target/release/carousel")
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", choices=FAMILIES, action="append")
    parser.add_argument("--keep", type=pathlib.Path, help="where checkpoints are left")
    parser.add_argument("--fixture", type=pathlib.Path, help="only write the small checkpoint of the test suite there")
    parser.add_argument("--markdown", type=pathlib.Path, help="file for the table")
    options = parser.parse_args()
    if options.fixture:
        return fixture(options.fixture)
    rows, worst = [], 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for family in options.family or FAMILIES:
            module = importlib.import_module(family)
            for case in range(options.cases):
                rng = random.Random(f"{options.seed} {family} {case}")
                settings = module.draw(rng)
                folder = (options.keep or pathlib.Path(scratch)) / f"{family}-{options.seed}-{case}"
                tokens, expected, more = module.make(settings, folder, rng)
                piece = rng.choice([None, 1, 7])
                results = []
                for found in (lambda: ours(options.carousel, folder, tokens, piece),
                              lambda: written(options.carousel, folder, FAMILIES[family], module, tokens)):
                    try:
                        error = difference(found(), expected)
                        results.append(f"{error:.1e}")
                        worst = max(worst, error)
                    except RuntimeError as problem:
                        results.append(f"failed: {problem}")
                        worst = float("inf")
                shown = ", ".join(f"{name} {value}" for name, value in (settings | more).items())
                how = f"{len(tokens)} tokens" + (f" in pieces of {piece}" if piece else "")
                rows.append(f"| {FAMILIES[family]} {case} | {shown} | {how} | {' | '.join(results)} |")
                print(rows[-1], flush=True)
    if options.markdown:
        head = ("| checkpoint | configuration | read | largest difference | when written and read there |\n"
                "|---|---|---|---|---|\n")
        options.markdown.write_text(head + "\n".join(rows) + "\n")
    print(f"worst {worst:.1e}, tolerance {TOLERANCE:.0e}")
    return worst > TOLERANCE


if __name__ == "__main__":
    sys.exit(main())
