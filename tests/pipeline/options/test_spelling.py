from __future__ import annotations

from pipeline.options.spelling import unknown_flags, with_underscores


def test_dashes_of_known_flags_become_underscores() -> None:
    names = ["model_path", "a-b", "device"]
    given = ["--model-path=a-b.pt2", "--model-path", "--no-such=1", "--a-b", "model-path", "--device"]
    assert with_underscores(given, names) == [
        "--model_path=a-b.pt2", "--model_path", "--no-such=1", "--a-b", "model-path", "--device"
    ]  # fmt: skip


def test_each_mistake_is_told_once() -> None:
    assert unknown_flags(["--modle_path", "x", "stray", "--zzz=1", "more"], ["model_path"], "ask") == [
        "--modle_path: there is no such flag; did you mean --model_path?",
        "stray: not a flag; write --name=value",
        "--zzz: there is no such flag; ask",
        "more: not a flag; write --name=value",
    ]
