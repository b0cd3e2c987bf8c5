# SPDX-License-Identifier: Apache-2.0
"""Our tokenizers beside the Rust library's: CLINC plus's training texts, one thread and several, in turn."""
import json
import pathlib
import statistics
import subprocess
import tempfile

from place import PEER, SHARED, clinc, missing, peer_env

PEER_TOKENIZE = """
import json, sys, time
from tokenizers import Tokenizer
texts = open("/tmp/retort-bench/texts.txt", encoding="utf-8").read().splitlines()
seconds = []
for _ in range(int(sys.argv[2])):
    t = Tokenizer.from_file(sys.argv[1])
    t.no_padding(); t.enable_truncation(512)
    began = time.perf_counter()
    done = t.encode_batch_fast(texts)  # without offsets, as we do it
    seconds.append(time.perf_counter() - began)
print(json.dumps({"seconds": seconds, "texts": len(texts), "tokens": sum(len(e) for e in done)}))
"""


def measure(args):
    if lacks := missing():
        return {"skipped": lacks}
    out = {}
    with tempfile.TemporaryDirectory(prefix="retort-bench-") as folder:
        texts = pathlib.Path(folder, "texts.txt")
        texts.write_text("".join(text + "\n" for text, _ in clinc()["train"]), encoding="utf-8")
        inside = PEER / "tmp" / "retort-bench"
        inside.mkdir(exist_ok=True)
        (inside / "texts.txt").write_bytes(texts.read_bytes())
        (inside / "time_tokenizer.py").write_text(PEER_TOKENIZE, encoding="utf-8")
        for name in ("bert-base-uncased", "roberta-bpe", "unigram-metaspace", "modernbert"):
            model = SHARED / "reference" / "tokenizers" / name
            (inside / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
            for threads in sorted({1, args.threads}):
                ours = subprocess.run([args.build / "bench" / "bench_tokenize", model, texts, "7", str(threads)], stdout=subprocess.PIPE, check=True)
                theirs = subprocess.run(
                    ["chroot", PEER, "env", f"RAYON_NUM_THREADS={threads}", f"TOKENIZERS_PARALLELISM={str(threads > 1).lower()}", "python3",
                     "/tmp/retort-bench/time_tokenizer.py", "/tmp/retort-bench/tokenizer.json", "7"], stdout=subprocess.PIPE, check=True, env=peer_env())
                out[f"{name}, {threads} thread{'s' * (threads > 1)}"] = {"ours": json.loads(ours.stdout), "peer": json.loads(theirs.stdout)}
    return out


def table(r):
    if "skipped" in r:
        yield f"Tokenizers against the Rust library: skipped ({r['skipped']})."
        return
    yield "| 15,250 CLINC plus texts | Retort | tokenizers (Rust) | ratio |\n| --- | --- | --- | --- |"
    for name, sides in r.items():
        mine, theirs = (statistics.median(sides[side]["seconds"]) for side in ("ours", "peer"))
        same = "" if sides["ours"]["tokens"] == sides["peer"]["tokens"] else " (token counts differ!)"
        yield f"| {name} | {mine * 1000:.0f} ms | {theirs * 1000:.0f} ms | **{theirs / mine:.2f}**{same} |"
