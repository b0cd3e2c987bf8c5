# SPDX-License-Identifier: Apache-2.0
"""Makes the example models' tokenizer from the example data set's own training texts. Run once; the results are committed.

    python3 examples/make_tokenizer.py

Needs the Hugging Face `tokenizers` library (made with 0.23.1). Writes tokenizer.json and tokenizer_config.json into
examples/models/teacher and examples/models/student: a byte-level BPE as RoBERTa has it, with 2,000 entries. Unlike RoBERTa's it
puts a space before the first word, so that a word is the same token wherever it stands; with 1,200 texts that matters.
"""
import json
import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
VOCABULARY = 2000
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
CONFIG = {
    "add_prefix_space": True,
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "mask_token": "<mask>",
    "model_max_length": 64,
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "tokenizer_class": "PreTrainedTokenizerFast",
    "unk_token": "<unk>",
}


def main():
    with open(HERE / "intents" / "train.jsonl", encoding="utf-8") as f:
        texts = [json.loads(line)["text"] for line in f]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>")), add_prefix_space=True)
    assert tokenizer.get_vocab_size() == VOCABULARY
    for model in ("teacher", "student"):
        tokenizer.save(str(HERE / "models" / model / "tokenizer.json"))
        with open(HERE / "models" / model / "tokenizer_config.json", "w", encoding="utf-8") as f:
            json.dump(CONFIG, f, indent=2)
            f.write("\n")


if __name__ == "__main__":
    main()
