"""Trains the classifier on made-up reviews; writes the model and the reviews that it has not seen.

    python -m examples.text.train --out DIR

Prints how many of those it gets right.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch

from examples.text.hooks import LENGTH, decode
from examples.text.model import SentimentClassifier
from examples.text.words import BLAME, NOUNS, PRAISE, VOCABULARY

SEED = 7
TRAINED_ON, HELD_OUT = 400, 100
STEPS = 200
_TEMPLATES = (
    "the {noun} was {word}",
    "the {noun} was {word} and the {other} was {second}",
    "we found the {noun} {very} {word}",
    "a {word} {noun} with {second} {other}",
    "i thought it was a {very} {word} {noun}",
    "our {noun} was {very} {word}, {second} and {third}",
)


def reviews(number: int) -> list[tuple[str, int]]:
    """Return so many different reviews and their labels, 1 for positive; the same on every run."""
    choose = random.Random(SEED)
    found: dict[str, int] = {}
    while len(found) < number:
        label = choose.randrange(2)
        word, second, third = choose.sample(PRAISE if label else BLAME, 3)
        noun, other = choose.sample(NOUNS, 2)
        very = choose.choice(["really", "very", "quite", "rather"])
        text = choose.choice(_TEMPLATES).format_map(locals())
        found[text] = label
    return list(found.items())


def inputs(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, int64 [n, 16] each, as the job makes them."""
    rows = [decode({"text": text}, {}) for text in texts]
    return torch.tensor([row["ids"] for row in rows]), torch.tensor([row["mask"] for row in rows])


def fit(texts: list[str], labels: list[int]) -> SentimentClassifier:
    """Return a classifier fitted to texts and their labels, 1 for positive."""
    torch.manual_seed(SEED)
    model = SentimentClassifier(len(VOCABULARY))
    ids, mask = inputs(texts)
    wanted = torch.tensor(labels, dtype=torch.float32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy(model(ids, mask), wanted).backward()
        optimizer.step()
    return model.eval()


def export(model: SentimentClassifier) -> torch.export.ExportedProgram:
    """Return the model exported for batches of any size."""
    batch = torch.export.Dim("batch")
    return torch.export.export(
        model,
        args=(),
        # By keyword, as the job passes named inputs. Each is a tensor of its own: one given twice would be
        # taken for one input.
        kwargs={name: torch.zeros(2, LENGTH, dtype=torch.int64) for name in ("ids", "mask")},
        dynamic_shapes={"ids": {0: batch}, "mask": {0: batch}},
    )


def main() -> None:
    """Train, write both files and print how many unseen reviews are right."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="where model.pt2 and requests.jsonl go")
    out: Path = parser.parse_args().out

    every = reviews(TRAINED_ON + HELD_OUT)
    seen, unseen = every[:TRAINED_ON], every[TRAINED_ON:]
    model = fit([text for text, _ in seen], [label for _, label in seen])
    program = export(model)
    ids, mask = inputs([text for text, _ in unseen])
    with torch.inference_mode():
        scores = program.module()(ids=ids, mask=mask).tolist()
    right = sum((score >= 0.5) == bool(label) for score, (_, label) in zip(scores, unseen, strict=True))

    out.mkdir(parents=True, exist_ok=True)
    torch.export.save(program, out / "model.pt2")
    with (out / "requests.jsonl").open("w") as file:
        for number, (text, label) in enumerate(unseen):
            wanted = "positive" if label else "negative"
            file.write(json.dumps({"request": number, "text": text, "expected": wanted}) + "\n")
    print(f"trained on {len(seen)} reviews; right on {right} of {len(unseen)} others")


if __name__ == "__main__":
    main()
