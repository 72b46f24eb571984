"""Trains the autoencoder on benign records and writes the model and the held-out records.

    python -m examples.breast_cancer.train [--out DIR]

Prints the ROC AUC of the anomaly score over the held-out records: all malignant ones and the 40 % of the
benign ones that it was not trained on. A streamed run must reach the same value.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from examples.breast_cancer.autoencoder import FEATURES, AnomalyScorer

SEED = 7
TRAIN_SHARE = 0.6
EPOCHS = 400
HERE = Path(__file__).parent


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Split the records.

    Returns:
        Training features, float32 [214, 30]; and of the held-out records, their numbers, int [355], their
        features, float32 [355, 30], and their labels, int [355], 1 for malignant.
    """
    data = load_breast_cancer()
    malignant = data.target == 0
    benign = np.random.default_rng(SEED).permutation(np.flatnonzero(~malignant))
    train = benign[: int(TRAIN_SHARE * len(benign))]
    held_out = np.setdiff1d(np.arange(len(data.target)), train)
    features = data.data.astype(np.float32)
    return features[train], held_out, features[held_out], malignant[held_out].astype(int)


def fit(features: np.ndarray) -> AnomalyScorer:
    """Return an AnomalyScorer fitted to `features`, float32 [n, 30]; the same on every run."""
    torch.manual_seed(SEED)
    x = torch.from_numpy(features)
    model = AnomalyScorer(x.mean(dim=0), x.std(dim=0))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-5)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        model.reconstruction_error(x).mean().backward()
        optimizer.step()
    return model.eval()


def main() -> None:
    """Train, write both files and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE, help="where model.pt2 and records.jsonl go")
    out: Path = parser.parse_args().out

    train, numbers, features, labels = split()
    model = fit(train)
    with torch.inference_mode():
        scores = model(torch.from_numpy(features)).numpy()
    out.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (torch.zeros(2, FEATURES),), dynamic_shapes={"features": {0: batch}})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds paths of the machine that exports
    torch.export.save(program, out / "model.pt2")
    with (out / "records.jsonl").open("w") as file:
        for number, row, label in zip(numbers, features, labels, strict=True):
            # str() of a float32 is the shortest text that reads back as the same float32.
            values = [float(str(value)) for value in row]
            record = {"record_id": int(number), "features": values, "label": int(label)}
            file.write(json.dumps(record) + "\n")
    print(f"trained on {len(train)} benign records, held out {len(labels)} ({labels.sum()} malignant)")
    print(f"ROC AUC {roc_auc_score(labels, scores):.6f}")


if __name__ == "__main__":
    main()
