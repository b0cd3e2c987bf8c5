# SPDX-License-Identifier: Apache-2.0
"""retort-worker run and validate without a server, on the small models of shared/reference/training."""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import threading

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(os.environ.get("BUILD_DIR", ROOT / "build")) / "worker" / "retort-worker"
REFERENCE = Path(os.environ.get("RT_SHARED", ROOT / ".." / "shared")) / "reference" / "training"
TIME = 60 * float(os.environ.get("TEST_FACTOR", "1"))

pytestmark = [
    pytest.mark.skipif(not WORKER.exists(), reason="built without libtorch"),
    pytest.mark.skipif(not REFERENCE.exists(), reason="needs reference/training under RT_SHARED"),
]

# what precision auto is on this machine
with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
    AUTO = "bf16" if " avx512_bf16" in cpuinfo.read() else "fp32"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A teacher, a student and a dataset as a user has them: folders with weights and tokenizer, a file with rows."""
    root = tmp_path_factory.mktemp("parts")
    for name in ("teacher", "student"):
        shutil.copytree(REFERENCE / name, root / name)
        for f in (REFERENCE / "tokenizer").iterdir():
            shutil.copy(f, root / name)
    rows = json.loads((REFERENCE / "rows.json").read_text())
    names = rows["labels"]
    (root / "rows.json").write_text(json.dumps({
        "train": [[r["text"], names[r["label"]]] for r in rows["train"]],
        "val": [[r["text"], names[r["label"]]] for r in rows["eval"]]}))
    return root


def spec_of(parts, **changes):
    spec = {"teacher_id": str(parts / "teacher"), "student_id": str(parts / "student"), "dataset_id": str(parts / "rows.json"),
            "epochs": 3, "learning_rate": 0.01, "per_device_train_batch_size": 32, "seed": 7}
    spec.update(changes)
    return {k: v for k, v in spec.items() if v is not ...}


def start(folder, spec, *options, **how):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(spec if isinstance(spec, str) else json.dumps(spec))
    return subprocess.Popen([WORKER, "run", "--spec", folder / "spec.json", "--dir", folder / "run", *options],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


def run(folder, spec, *options):
    """Exit status and events of a whole run; stdout and the file must agree."""
    process = start(folder, spec, *options)
    out, err = process.communicate(timeout=TIME)
    assert out == (folder / "run" / "events.ndjson").read_text(), err
    events = [json.loads(line) for line in out.splitlines()]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    return process.returncode, events


def of_type(events, kind):
    return [e["data"] for e in events if e["type"] == kind]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def done(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("done")
    status, events = run(folder, spec_of(parts), "--threads", "2")
    assert status == 0, events[-1]
    return folder, events


def test_a_run_tells_its_story_in_order(done):
    _, events = done
    kinds = [e["type"] for e in events if e["type"] not in ("log", "train.progress", "teacher.progress", "run.phase")]
    assert kinds[:5] == ["run.started", "data.loaded", "model.loaded", "model.loaded", "teacher.completed"]
    assert kinds[5:7] == ["eval.classes", "epoch.completed"]
    assert kinds.index("checkpoint.written") > 6  # written beside training, so it may come after the next epoch
    assert kinds[-1] == "run.succeeded"
    assert [p["phase"] for p in of_type(events, "run.phase")][:4] == ["validating", "caching_teacher", "training", "evaluating"]
    started = of_type(events, "run.started")[0]
    assert started["threads"] == 2 and started["seed"] == 7 and started["precision"] == AUTO
    assert started["spec"]["alpha"] == 0.5


def test_counts_by_class_add_up_to_the_accuracy(done):
    """Of the same evaluation: the counts must say what epoch.completed says."""
    for classes, epoch in zip(of_type(done[1], "eval.classes"), of_type(done[1], "epoch.completed"), strict=True):
        assert classes["epoch"] == epoch["epoch"] and classes["classes_total"] == len(classes["classes"])
        assert classes["correct"] / classes["rows"] == pytest.approx(epoch["eval_accuracy"], abs=1e-12)
        assert sum(c["count"] for c in classes["classes"]) == sum(c["predicted"] for c in classes["classes"]) == classes["rows"]
        assert sum(c["correct"] for c in classes["classes"]) == classes["correct"]
        wrong = classes["rows"] - classes["correct"]
        assert sum(p["count"] for p in classes["confused"]) == wrong or len(classes["confused"]) == 50
        assert 0 <= classes["agreed"] <= classes["rows"]
        assert all(p["label"] != p["predicted"] for p in classes["confused"])


def test_the_teacher_is_asked_once(done):
    teacher = of_type(done[1], "teacher.completed")[0]
    assert teacher["forwards_done"] <= 372
    assert teacher["forwards_done"] + teacher["forwards_avoided"] == 3 * 372
    assert teacher["accuracy"] == pytest.approx(0.91)


def test_epochs_carry_both_losses(done):
    epochs = of_type(done[1], "epoch.completed")
    assert [e["epoch"] for e in epochs] == [1, 2, 3] and [e["step"] for e in epochs] == [9, 18, 27]
    for e in epochs:
        assert e["train_loss"] == pytest.approx(0.5 * e["train_ce_loss"] + 0.5 * e["train_kd_loss"], rel=1e-5)
        assert e["eval_loss"] == pytest.approx(0.5 * e["eval_ce_loss"] + 0.5 * e["eval_kd_loss"], rel=1e-9)
    assert epochs[0]["best"] is True and epochs[-1]["eval_accuracy"] > 0.4


def test_checkpoints_are_whole_and_listed(done):
    folder, events = done
    written = of_type(events, "checkpoint.written")
    gone = {d["checkpoint_id"] for d in of_type(events, "checkpoint.deleted")}
    best = [w for w in written if w["best"]][-1]
    here = {p.name for p in (folder / "run" / "checkpoints").iterdir()}
    assert here == {w["checkpoint_id"] for w in written} - gone | {"best", "last"}
    assert os.readlink(folder / "run" / "checkpoints" / "best") == best["checkpoint_id"]
    assert os.readlink(folder / "run" / "checkpoints" / "last") == written[-1]["checkpoint_id"]
    assert of_type(events, "run.succeeded")[0]["best_checkpoint_id"] == best["checkpoint_id"]
    dir = folder / "run" / best["dir"]
    files = {str(p.relative_to(dir)) for p in dir.rglob("*") if p.is_file()}
    assert files == {f["name"] for f in best["files"]}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "trainer_state.json"} <= files
    for f in best["files"]:
        assert (dir / f["name"]).stat().st_size == f["size_bytes"] and sha256(dir / f["name"]) == f["sha256"]
    assert best["size_bytes"] == sum(f["size_bytes"] for f in best["files"])


def numbers(events):
    changing = ("seconds", "samples_per_s", "eta_s")
    return [{k: v for k, v in e.items() if k not in changing} for e in of_type(events, "epoch.completed")]


def test_a_cache_changes_no_bit(done, parts, tmp_path):
    folder, events = done
    cache = str(tmp_path / "cache")
    weights = sha256(folder / "run" / "checkpoints" / "best" / "model.safetensors")
    unique = of_type(events, "teacher.completed")[0]["forwards_done"]
    for name, computed in (("cold", unique), ("warm", 0)):
        status, again = run(tmp_path / name, spec_of(parts), "--threads", "2", "--cache", cache)
        assert status == 0
        teacher = of_type(again, "teacher.completed")[0]
        assert (teacher["forwards_done"], teacher["forwards_cached"]) == (computed, unique - computed)
        assert teacher["accuracy"] == of_type(events, "teacher.completed")[0]["accuracy"]
        assert numbers(again) == numbers(events)
        assert sha256(tmp_path / name / "run" / "checkpoints" / "best" / "model.safetensors") == weights
    # another precision, other weights: nothing of it is theirs
    other = "fp32" if AUTO == "bf16" else "bf16"
    status, other = run(tmp_path / "other", spec_of(parts, teacher_precision=other, epochs=1), "--cache", cache)
    assert status == 0 and of_type(other, "teacher.completed")[0]["forwards_cached"] == 0
    # a smaller limit than one record: it trains all the same, and says so
    status, full = run(tmp_path / "full", spec_of(parts, epochs=1), "--threads", "2", "--cache", str(tmp_path / "small"), "--cache-max-bytes", "1")
    assert status == 0 and of_type(full, "teacher.completed")[0]["forwards_done"] == unique
    assert any("no longer cached" in e["message"] for e in full if e["level"] == "warn")
    assert numbers(full)[0]["train_loss"] > 0


def test_two_runs_at_once_ask_the_teacher_once(done, parts, tmp_path):
    cache = str(tmp_path / "cache")
    both = [start(tmp_path / name, spec_of(parts, epochs=1), "--threads", "1", "--cache", cache) for name in ("a", "b")]
    told = []
    for process in both:
        out, err = process.communicate(timeout=TIME)
        assert process.returncode == 0, err
        told.append(of_type([json.loads(x) for x in out.splitlines()], "teacher.completed")[0])
    unique = of_type(done[1], "teacher.completed")[0]["forwards_done"]
    assert sum(t["forwards_done"] for t in told) == unique
    assert all(t["forwards_done"] + t["forwards_cached"] == unique for t in told)


def test_a_second_run_is_the_same_bit_for_bit(done, parts, tmp_path):
    folder, events = done
    status, again = run(tmp_path, spec_of(parts), "--threads", "2")
    assert status == 0
    for kind, changing in (("epoch.completed", ("seconds", "samples_per_s", "eta_s")), ("teacher.completed", ("seconds",))):
        for a, b in zip(of_type(events, kind), of_type(again, kind), strict=True):
            assert {k: v for k, v in a.items() if k not in changing} == {k: v for k, v in b.items() if k not in changing}
    for name in ("best", "last"):
        assert sha256(folder / "run" / "checkpoints" / name / "model.safetensors") == \
            sha256(tmp_path / "run" / "checkpoints" / name / "model.safetensors")
    status, other = run(tmp_path / "other", spec_of(parts, seed=8), "--threads", "2")
    assert of_type(other, "epoch.completed")[0]["train_loss"] != of_type(events, "epoch.completed")[0]["train_loss"]


def test_a_checkpoint_is_a_student_and_a_teacher_again(done, parts, tmp_path):
    best = str(done[0] / "run" / "checkpoints" / "best")
    status, events = run(tmp_path, spec_of(parts, teacher_id=best, student_id=best, epochs=1))
    assert status == 0, events[-1]
    accuracy = max(e["eval_accuracy"] for e in of_type(done[1], "epoch.completed"))
    assert of_type(events, "teacher.completed")[0]["accuracy"] == pytest.approx(accuracy)


def test_plain_fine_tuning_needs_no_teacher(parts, tmp_path):
    status, events = run(tmp_path, spec_of(parts, teacher_id=..., alpha=1))
    assert status == 0, events[-1]
    assert not of_type(events, "teacher.completed")
    last = of_type(events, "epoch.completed")[-1]
    assert last["train_kd_loss"] is None and last["train_loss"] == pytest.approx(last["train_ce_loss"])


def test_a_random_student_needs_only_config_and_tokenizer(parts, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(parts / "student", bare)
    (bare / "model.safetensors").unlink()
    config = json.loads((bare / "config.json").read_text())
    config.pop("id2label")
    config.pop("label2id")
    (bare / "config.json").write_text(json.dumps(config))
    status, events = run(tmp_path / "a", spec_of(parts, student_id=str(bare), student_init="random", epochs=1))
    assert status == 0, events[-1]
    written = json.loads((tmp_path / "a" / "run" / "checkpoints" / "best" / "config.json").read_text())
    teacher = json.loads((parts / "teacher" / "config.json").read_text())
    assert written["id2label"] == teacher["id2label"]
    status, events = run(tmp_path / "b", spec_of(parts, student_id=str(bare), epochs=1))
    assert status == 1 and of_type(events, "run.failed")[0]["errors"][0]["pointer"] == "/student_id"


def test_a_thousand_tensors_too_many_are_counted_and_the_first_named(parts, tmp_path):
    """An event has a limit, and a file may hold any number of names of any length."""
    shutil.copytree(parts / "student", tmp_path / "student")
    path = tmp_path / "student" / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    end = len(data) - 8 - size
    for i in range(1000):
        header[f"extra.{i:04}." + "é" * 1000] = {"dtype": "F32", "shape": [0], "data_offsets": [end, end]}
    text = json.dumps(header, ensure_ascii=False).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size:])
    status, events = run(tmp_path, spec_of(parts, student_id=str(tmp_path / "student"), epochs=1))
    assert status == 0
    loaded = of_type(events, "model.loaded")[1]
    assert loaded["unexpected_count"] == 1000 and len(loaded["unexpected"]) == 200
    assert loaded["unexpected"][0] == "extra.0000." + "é" * 122  # 256 bytes, at a character's edge
    assert loaded["missing_count"] == len(loaded["missing"])


def test_a_teacher_with_other_label_order_teaches_the_same(parts, tmp_path):
    """Labels meet by name: a teacher whose classes stand in another order (head permuted with them) changes nothing."""
    import struct
    other = tmp_path / "teacher"
    shutil.copytree(parts / "teacher", other)
    config = json.loads((other / "config.json").read_text())
    n = len(config["id2label"])
    order = [(i * 3 + 1) % n for i in range(n)]  # new id -> old id
    config["id2label"] = {str(i): config["id2label"][str(old)] for i, old in enumerate(order)}
    config["label2id"] = {v: int(k) for k, v in config["id2label"].items()}
    (other / "config.json").write_text(json.dumps(config))
    raw = bytearray((other / "model.safetensors").read_bytes())
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    for name in ("classifier.out_proj.weight", "classifier.out_proj.bias"):
        begin, end = (8 + size + x for x in header[name]["data_offsets"])
        row = (end - begin) // n
        old = bytes(raw[begin:end])
        raw[begin:end] = b"".join(old[o * row:(o + 1) * row] for o in order)
    (other / "model.safetensors").write_bytes(raw)
    _, a = run(tmp_path / "a", spec_of(parts, epochs=1))
    _, b = run(tmp_path / "b", spec_of(parts, epochs=1, teacher_id=str(other)))
    assert of_type(b, "teacher.completed")[0]["accuracy"] == of_type(a, "teacher.completed")[0]["accuracy"]
    assert of_type(b, "epoch.completed")[0]["eval_loss"] == pytest.approx(of_type(a, "epoch.completed")[0]["eval_loss"], abs=1e-5)


def wait_for(process, kind):
    for line in process.stdout:
        if json.loads(line)["type"] == kind:
            return
    pytest.fail(f"the run ended before {kind}")


def test_sigterm_ends_a_run_within_a_step(parts, tmp_path):
    process = start(tmp_path, spec_of(parts, epochs=10000))
    wait_for(process, "checkpoint.written")
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    process.communicate(timeout=TIME)
    assert process.returncode == 5 and time.monotonic() - asked < TIME / 10
    last = json.loads((tmp_path / "run" / "events.ndjson").read_text().splitlines()[-1])
    assert last["type"] == "run.stopped" and last["data"]["step"] > 0
    assert (tmp_path / "run" / "checkpoints" / "best" / "model.safetensors").exists()
    assert not list((tmp_path / "run" / "checkpoints").glob(".tmp*"))


def test_a_deadline_keeps_the_best_checkpoint(parts, tmp_path):
    status, events = run(tmp_path, spec_of(parts, epochs=10000, max_runtime_s=2))
    assert status == 1 and of_type(events, "run.failed")[0]["reason"] == "deadline"
    assert (tmp_path / "run" / "checkpoints" / "best" / "model.safetensors").exists()


def test_early_stopping(parts, tmp_path):
    status, events = run(tmp_path, spec_of(parts, epochs=50, learning_rate=1e-9, early_stopping_patience=2, save_total_limit=1))
    assert status == 0 and len(of_type(events, "epoch.completed")) == 3
    assert of_type(events, "run.succeeded")[0]["best_epoch"] == 1
    # limit 1, and the best is not the last: both stay
    assert len([p for p in (tmp_path / "run" / "checkpoints").iterdir() if not p.is_symlink()]) == 2


def test_a_run_that_diverges_says_what_to_do(parts, tmp_path):
    broken = tmp_path / "student"
    shutil.copytree(parts / "student", broken)
    raw = bytearray((broken / "model.safetensors").read_bytes())
    raw[-400:] = b"\xff\xff\x7f\x7f" * 100  # the largest float: finite, until it is used
    (broken / "model.safetensors").write_bytes(raw)
    status, events = run(tmp_path / "a", spec_of(parts, student_id=str(broken)))
    failed = of_type(events, "run.failed")[0]
    assert status == 1 and failed["reason"] == "diverged"
    assert "learning_rate" in events[-1]["message"]


def test_a_full_disk_is_called_that(parts, tmp_path):
    import resource
    # room for the events and not for the weights
    process = start(tmp_path, spec_of(parts), preexec_fn=lambda: (
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))))
    out, _ = process.communicate(timeout=TIME)
    last = json.loads(out.splitlines()[-1])
    assert process.returncode == 1 and last["type"] == "run.failed"
    assert last["data"]["reason"] in ("disk_full", "internal")  # a size limit says EFBIG where a full disk says ENOSPC
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


BAD = [
    ("no JSON", "{", None, None),
    ("unknown field", dict(temparature=4), "/temparature", "did you mean 'temperature'"),
    ("zero epochs", dict(epochs=0), "/epochs", "epochs must be"),
    ("fp16", dict(precision="fp16"), "/precision", "bf16"),
    ("more GPUs than there are", dict(resources={"gpus": 1}), "/resources/gpus", "libtorch sees 0 GPUs"),
    ("no teacher folder", dict(teacher_id="/nonexistent/teacher"), "/teacher_id", "does not exist"),
    ("no student folder", dict(student_id="/nonexistent/student"), "/student_id", "does not exist"),
    ("no data", dict(dataset_id="/nonexistent/rows.json"), "/dataset_id", "does not exist"),
    ("a Hub id", dict(student_id="nreimers/MiniLMv2"), "/student_id", "Hub id"),
    ("a job id", dict(teacher_id="job_01ARZ3NDEKTSV4RRFFQ69G5FAV"), "/teacher_id", "server"),
    ("max_length of no model", dict(max_length=4096), "/max_length", "at most 64"),
    ("no teacher below alpha 1", dict(teacher_id=...), "/teacher_id", "alpha"),
]


@pytest.mark.parametrize("name,changes,pointer,words", BAD, ids=[b[0] for b in BAD])
def test_bad_specs_fail_as_bad_input(parts, tmp_path, name, changes, pointer, words):
    spec = changes if isinstance(changes, str) else spec_of(parts, **changes)
    status, events = run(tmp_path, spec)
    failed = of_type(events, "run.failed")[0]
    assert status == 1 and failed["reason"] == "bad_input"
    if pointer:
        assert [e["pointer"] for e in failed["errors"]] == [pointer]
        assert words in failed["errors"][0]["detail"]


def damaged(parts, tmp_path, what):
    """Copies of the parts with one thing wrong; the spec that names them."""
    for name in ("teacher", "student"):
        shutil.copytree(parts / name, tmp_path / name)
    shutil.copy(parts / "rows.json", tmp_path)
    rows = json.loads((tmp_path / "rows.json").read_text())
    if what == "truncated weights":
        raw = (tmp_path / "student" / "model.safetensors").read_bytes()
        (tmp_path / "student" / "model.safetensors").write_bytes(raw[:-1000])
    elif what == "no tokenizer":
        (tmp_path / "student" / "tokenizer.json").unlink()
        for name in ("vocab.json", "merges.txt"):
            (tmp_path / "student" / name).unlink()
    elif what == "tokenizer of another model":
        shutil.copy(REFERENCE.parent / "tokenizers" / "roberta-bpe" / "tokenizer.json", tmp_path / "student")
    elif what == "label the teacher does not know":
        rows["train"][3][1] = "juggling"
    elif what == "empty text":
        rows["train"][3][0] = ""
    elif what == "empty split":
        rows["val"] = []
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return spec_of(tmp_path)


FILES = [
    ("truncated weights", "/student_id", ""),
    ("no tokenizer", "/student_id", "tokenizer"),
    ("tokenizer of another model", "/student_id", "vocabulary"),
    ("label the teacher does not know", None, "juggling"),
    ("empty text", "/dataset_id", ""),
    ("empty split", "/dataset_id", "val"),
]


@pytest.mark.parametrize("what,pointer,words", FILES, ids=[f[0] for f in FILES])
def test_bad_files_fail_as_bad_input(parts, tmp_path, what, pointer, words):
    spec = damaged(parts, tmp_path, what)
    status, events = run(tmp_path / "a", spec)
    failed = of_type(events, "run.failed")[0]
    assert status == 1 and failed["reason"] == "bad_input" and len(failed["errors"]) == 1, failed
    assert pointer in (None, failed["errors"][0]["pointer"])
    assert words in failed["errors"][0]["detail"]


def validate(tmp_path, spec, *options):
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    done = subprocess.run([WORKER, "validate", "--spec", tmp_path / "spec.json", *options], capture_output=True, text=True,
                          timeout=TIME)
    return done.returncode, json.loads(done.stdout)


def test_validate_says_what_the_job_is(parts, tmp_path):
    status, answer = validate(tmp_path, spec_of(parts), "--models-root", str(parts))
    assert status == 0 and answer["valid"] is True and answer["errors"] == []
    assert answer["resolved"]["temperature"] == 4
    facts = answer["facts"]
    assert facts["train_rows"] == 272 and facts["validation_rows"] == 100 and facts["labels"] == 8
    assert facts["steps"] == 27 and facts["tokenizers"] == "same" and facts["truncated_rows"] == 0
    assert facts["student"]["family"] == "roberta" and facts["teacher"]["labels"] == 8
    assert facts["memory_bytes_estimate"] > 0


def with_tokenizer(parts, tmp_path, change):
    """A spec whose student has the same weights and another tokenizer."""
    shutil.copytree(parts / "student", tmp_path / "student")
    path = tmp_path / "student" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    change(tokenizer)
    path.write_text(json.dumps(tokenizer))
    return spec_of(parts, student_id=str(tmp_path / "student"))


def test_tokenizers_that_differ_where_no_text_does_are_compatible(parts, tmp_path):
    spec = with_tokenizer(parts, tmp_path, lambda t: t["added_tokens"].append({"id": 3, "content": "<unk>", "lstrip": True, "special": True}))
    facts = validate(tmp_path, spec)[1]["facts"]
    check = facts["tokenizer_check"]
    assert facts["tokenizers"] == check["likeness"] == "compatible" and check["differs_in"] == ["added_tokens"]
    assert check["texts_compared"] == 372 and check["texts_that_differ"] == 0
    assert check["teacher_tokens"] == check["student_tokens"] == check["shared_tokens"] == 600
    assert "all 372 texts of this job give the same ids" in check["means"]
    assert facts["teacher"]["reading"] == facts["student"]["reading"]  # read once


def test_tokenizers_that_differ_are_told_and_each_reads_with_its_own(parts, tmp_path):
    def change(tokenizer):
        tokenizer["normalizer"] = {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaa"}

    spec = with_tokenizer(parts, tmp_path, change)
    spec.update(epochs=1, max_length=20)
    status, events = run(tmp_path / "a", spec)
    assert status == 0
    check = of_type(events, "data.loaded")[0]["tokenizers"]
    assert check["likeness"] == "different" and check["differs_in"] == ["normalizer"]
    assert 0 < check["texts_that_differ"] < check["texts_compared"] == 372
    assert "each model reads every text with its own tokenizer" in check["means"]
    assert [e["message"] for e in events if e["type"] == "log" and e["level"] == "info"].count(check["means"]) == 1
    facts = validate(tmp_path, spec)[1]["facts"]
    mine, theirs = facts["student"]["reading"], facts["teacher"]["reading"]
    assert mine["texts"] == theirs["texts"] == 372
    assert mine["tokens"] > theirs["tokens"] and mine["truncated_texts"] > theirs["truncated_texts"]


def test_many_unknown_tokens_are_a_warning(parts, tmp_path):
    def change(tokenizer):
        tokenizer["model"] = {"type": "WordLevel", "unk_token": "<unk>", "vocab": {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "the": 4, "<mask>": 599}}
        tokenizer["pre_tokenizer"] = {"type": "WhitespaceSplit"}

    status, answer = validate(tmp_path, with_tokenizer(parts, tmp_path, change))
    assert status == 0 and answer["facts"]["tokenizers"] == "different"
    warning = [w for w in answer["warnings"] if "unknown" in w["detail"]]
    assert [w["pointer"] for w in warning] == ["/student_id"]
    reading = answer["facts"]["student"]["reading"]
    assert 0 < reading["unknown_tokens"] < reading["tokens"]
    assert f"({reading['unknown_tokens']} of {reading['tokens']})" in warning[0]["detail"]


def test_validate_finds_everything_at_once(parts, tmp_path):
    status, answer = validate(tmp_path, spec_of(parts, teacher_id="/nonexistent/a", dataset_id="/nonexistent/b",
                                                precision="fp16", max_length=4096))
    assert status == 1 and answer["valid"] is False
    assert {e["pointer"] for e in answer["errors"]} == {"/teacher_id", "/dataset_id", "/precision", "/max_length"}


def test_validate_keeps_to_the_roots(parts, tmp_path):
    outside = tmp_path / "roots"
    outside.mkdir()
    (outside / "student").symlink_to(parts / "student")  # a link out of the root does not help
    status, answer = validate(tmp_path, spec_of(parts, student_id=str(outside / "student")), "--models-root", str(outside))
    assert status == 1
    assert {e["pointer"] for e in answer["errors"]} == {"/teacher_id", "/student_id", "/dataset_id"}
    assert all("--models-root" in e["detail"] for e in answer["errors"])


def test_validate_warns_of_leaks_and_cuts(parts, tmp_path):
    rows = json.loads((parts / "rows.json").read_text())
    rows["val"].append(rows["train"][0])
    rows["train"].append(rows["train"][1])
    rows["train"].append(["word " * 200, rows["train"][0][1]])
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    status, answer = validate(tmp_path, spec_of(parts, dataset_id=str(tmp_path / "rows.json")))
    words = " ".join(w["detail"] for w in answer["warnings"])
    assert status == 0 and answer["facts"]["truncated_rows"] == 1
    assert "more than once" in words and "stand in the training split too" in words and "longer than" in words


class Listener:
    """A server that takes events, and says `want` from a given event type on."""

    def __init__(self, cancel_at=None, word="cancel"):
        outer = self
        self.lines, self.bad_tokens, self.cancel_at, self.want = [], 0, cancel_at, "continue"
        self.lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                with outer.lock:
                    outer.bad_tokens += self.headers["Authorization"] != "Bearer s3cret"
                    for line in body.splitlines():
                        event = json.loads(line)
                        if event["seq"] == len(outer.lines) + 1:
                            outer.lines.append(event)
                        if event["type"] == outer.cancel_at:
                            outer.want = word
                    answer = json.dumps({"last_seq": len(outer.lines), "want": outer.want}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/worker/runs/run_x/events"
        ThreadPoolExecutor(1).submit(self.server.serve_forever)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def run_reporting(tmp_path, spec, listener, *options):
    end, start_ = os.pipe()
    os.write(start_, b"s3cret\n")
    os.close(start_)
    process = start(tmp_path, spec, "--report", listener.url, "--token-fd", str(end), *options, pass_fds=(end,))
    os.close(end)
    out, err = process.communicate(timeout=TIME)
    listener.close()
    return process.returncode, [json.loads(line) for line in out.splitlines()]


def test_a_server_gets_every_event(parts, tmp_path):
    listener = Listener()
    status, events = run_reporting(tmp_path, spec_of(parts, epochs=2), listener)
    assert status == 0 and listener.lines == events and listener.bad_tokens == 0


def test_a_server_cancels(parts, tmp_path):
    listener = Listener(cancel_at="checkpoint.written")
    status, events = run_reporting(tmp_path, spec_of(parts, epochs=10000), listener)
    assert status == 3 and events[-1]["type"] == "run.cancelled" and listener.lines == events


def test_a_folder_of_another_run_is_refused(done):
    folder, _ = done
    process = start(folder, (folder / "spec.json").read_text())
    out, err = process.communicate(timeout=TIME)
    assert process.returncode == 1 and out == "" and "another run" in err
