"""The job's options, from the texts of its flags."""

from __future__ import annotations

import pytest

from pipeline.options.job_options import FLAGS, JobOptions

REQUIRED = {
    "input_subscription": "projects/my-project/subscriptions/requests",
    "output_topic": "projects/my-project/topics/results",
    "dead_letter_topic": "projects/my-project/topics/dead-letters",
}


def test_texts_are_parsed_and_the_others_have_their_defaults() -> None:
    options = JobOptions.from_texts({**REQUIRED, "max_batch_size": "7", "cuda_graphs": "false"})
    assert options.output_topic == REQUIRED["output_topic"]
    assert (options.max_batch_size, options.cuda_graphs) == (7, False)
    assert (options.precision, options.model_path) == ("fp32", None)
    assert options.input_shape.tensors[0].shape == (30,)


def test_none_is_no_text() -> None:
    texts = {**REQUIRED, "max_batch_size": None, "model_path": None}
    assert JobOptions.from_texts(texts) == JobOptions.from_texts(REQUIRED)


def test_an_empty_text_is_none() -> None:
    texts: dict[str, str | None] = dict.fromkeys((flag.name for flag in FLAGS if not flag.required), "")
    assert JobOptions.from_texts({**texts, **REQUIRED}) == JobOptions.from_texts(REQUIRED)


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ({**REQUIRED, "max_batch_size": "0"}, "'0' is not a whole number from 1"),
        ({**REQUIRED, "cuda_graph": "false"}, "there is no flag --cuda_graph"),
    ],
)
def test_wrong_texts_are_refused(texts: dict[str, str | None], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        JobOptions.from_texts(texts)
