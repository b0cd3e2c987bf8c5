# SPDX-License-Identifier: Apache-2.0
"""The example data set and models are what examples/README.md says."""
import collections
import json
import pathlib

import pytest

HERE = pathlib.Path(__file__).parent
SPLITS = ("train", "validation", "test")


def rows(split):
    with open(HERE / "intents" / f"{split}.jsonl", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def plain(text):
    """A text without what does not tell two of them apart: case, punctuation, spaces."""
    return "".join(c for c in text.lower() if c.isalnum())


def labels():
    return sorted({row["label"] for row in rows("train")})


def test_there_are_enough_texts():
    sizes = {split: len(rows(split)) for split in SPLITS}
    assert sum(sizes.values()) >= 1500
    assert sizes["train"] >= 1200 and sizes["validation"] >= 200 and sizes["test"] >= 200


@pytest.mark.parametrize("split", SPLITS)
def test_rows_have_a_text_and_a_label_and_nothing_else(split):
    for row in rows(split):
        assert list(row) == ["text", "label"]
        assert row["text"] == row["text"].strip() and row["text"]
        assert 1 <= len(row["text"].split()) <= 30


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_has_every_label(split):
    count = collections.Counter(row["label"] for row in rows(split))
    assert sorted(count) == labels()
    assert len(count) == 25 and "other" in count
    assert max(count.values()) <= 1.5 * min(count.values())


def test_no_text_is_there_twice():
    seen = collections.defaultdict(list)
    for split in SPLITS:
        for row in rows(split):
            seen[plain(row["text"])].append((split, row["label"], row["text"]))
    assert [where for where in seen.values() if len(where) > 1] == []


def test_texts_do_not_follow_a_template():
    starts = collections.Counter(" ".join(row["text"].lower().split()[:4]) for s in SPLITS for row in rows(s)
                                 if len(row["text"].split()) > 4)
    assert starts.most_common(1)[0][1] <= 0.02 * sum(starts.values())


@pytest.mark.parametrize("model", ("teacher", "student"))
def test_model_folder_fits_the_data(model):
    folder = HERE / "models" / model
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    assert [config["id2label"][str(i)] for i in range(len(labels()))] == labels()
    assert {v: k for k, v in config["label2id"].items()} == dict(enumerate(labels()))
    assert config["vocab_size"] == len(tokenizer["model"]["vocab"])
    assert config["pad_token_id"] == tokenizer["model"]["vocab"]["<pad>"]
    assert not list(folder.glob("*.safetensors")) and not list(folder.glob("*.bin"))


@pytest.mark.parametrize("name", ("teacher", "student"))
def test_spec_names_what_is_here(name):
    spec = json.loads((HERE / f"{name}.json").read_text())
    assert (HERE / spec["student_id"] / "config.json").is_file()
    assert (HERE / spec["dataset_id"] / "train.jsonl").is_file()
    assert spec["student_init"] == "random"
    assert ("teacher_id" in spec) == (name == "student")
