# SPDX-License-Identifier: Apache-2.0
"""The whole way of a job with the real worker: a teacher from nothing, a student from it, its checkpoint by URL, and what the
user hears when the files are not what they should be. On the example's models; nothing else is needed."""
import io
import json
import os
import random
import shutil
import signal
import subprocess
import tarfile

import pytest

from harness import ROOT, WORKER, Server

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.skipif(not WORKER.exists(), reason="built without libtorch")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A server with the real worker, and below its root small copies of the example's models and four of its intents."""
    server = Server(tmp_path_factory.mktemp("real"), worker=WORKER, slots=2)
    for name in ("teacher", "student"):
        folder = server.models / name
        shutil.copytree(EXAMPLES / "models" / name, folder, dirs_exist_ok=True)
        config = json.loads((folder / "config.json").read_text())
        config.update(num_hidden_layers=1, hidden_size=32, num_attention_heads=2, intermediate_size=64)
        (folder / "config.json").write_text(json.dumps(config))
    data = server.models / "intents"
    data.mkdir()
    keep = {"cancel_order", "gift_card", "other", "double_charge"}
    for split in ("train", "validation"):
        rows = [line for line in (EXAMPLES / "intents" / f"{split}.jsonl").read_text().splitlines(True) if json.loads(line)["label"] in keep]
        assert len({json.loads(line)["label"] for line in rows}) == 4
        (data / f"{split}.jsonl").write_text("".join(rows))
    server.start()
    yield server
    server.stop()


def spec_of(place, **changes):
    spec = {"student_id": str(place.models / "teacher"), "dataset_id": str(place.models / "intents"), "student_init": "random", "alpha": 1,
            "epochs": 2, "learning_rate": 5e-3, "per_device_train_batch_size": 32, "seed": 1, "resources": {"threads": 1}}
    spec.update(changes)
    return {k: v for k, v in spec.items() if v is not ...}


@pytest.fixture(scope="module")
def teacher(place):
    job = place.client.finish(place.client.submit(spec_of(place))["id"])
    assert job["status"] == "succeeded", job["error"]
    return job


@pytest.fixture(scope="module")
def student(place, teacher):
    spec = spec_of(place, teacher_id=teacher["id"], student_id=str(place.models / "student"), alpha=0.5, temperature=4, epochs=3)
    job = place.client.finish(place.client.submit(spec)["id"])
    assert job["status"] == "succeeded", job["error"]
    return job


def test_epochs_stream_and_stay(place, student):
    events = place.client.get(f"/v1/jobs/{student['id']}/events?limit=1000").json["data"]
    epochs = [e["data"] for e in events if e["type"] == "epoch.completed"]
    assert [e["epoch"] for e in epochs] == [1, 2, 3]
    for e in epochs:
        mix = 0.5 * e["train_ce_loss"] + 0.5 * e["train_kd_loss"]
        assert e["train_loss"] == pytest.approx(mix, rel=1e-6)
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]
    stored = place.client.get(f"/v1/jobs/{student['id']}/epochs").json["data"]
    assert [(e["epoch"], e["eval_accuracy"]) for e in stored] == [(e["epoch"], e["eval_accuracy"]) for e in epochs]
    assert student["progress"]["best"]["accuracy"] == max(e["eval_accuracy"] for e in epochs)
    (done,) = [e["data"] for e in events if e["type"] == "teacher.completed"]
    train, validation = ([json.loads(x)["text"] for x in open(place.models / "intents" / f"{s}.jsonl", encoding="utf-8")] for s in ("train", "validation"))
    assert done["forwards_done"] == len(set(train + validation)), "the teacher reads each text once, whatever the number of epochs"


def test_a_second_job_asks_the_teacher_nothing(place, teacher, student):
    spec = spec_of(place, teacher_id=teacher["id"], student_id=str(place.models / "student"), alpha=0.2, temperature=2, epochs=1)
    job = place.client.finish(place.client.submit(spec)["id"])
    assert job["status"] == "succeeded", job["error"]

    def told(job):
        events = place.client.get(f"/v1/jobs/{job['id']}/events?limit=1000").json["data"]
        return [e["data"] for e in events if e["type"] == "teacher.completed"][0]

    first, second = told(student), told(job)
    assert second["forwards_done"] == 0 and second["forwards_cached"] == first["forwards_done"] > 0
    assert second["forwards_avoided"] == second["rows"]
    assert second["accuracy"] == first["accuracy"]
    # what jobs share is no job's: it stays when they go
    assert place.client.request("DELETE", f"/v1/jobs/{job['id']}").status in (202, 204)
    again = place.client.finish(place.client.submit(spec)["id"])
    assert told(again)["forwards_done"] == 0


def logits(folder, texts):
    run = subprocess.run([WORKER, "logits", "--model", folder], input="".join(json.dumps({"text": t}) + "\n" for t in texts),
                         stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line)["logits"] for line in run.stdout.splitlines()]


def test_checkpoint_by_url_is_a_model(place, student, tmp_path):
    answer = place.client.get(place.client.get(f"/v1/jobs/{student['id']}/checkpoints/best", 307).headers["location"] + ".tar")
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        tar.extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    rows = [json.loads(line) for line in (place.models / "intents" / "validation.jsonl").read_text().splitlines()]
    names = json.loads((folder / "config.json").read_text())["id2label"]
    right = sum(names[str(x.index(max(x)))] == r["label"] for x, r in zip(logits(folder, [r["text"] for r in rows]), rows))
    assert right / len(rows) == pytest.approx(student["progress"]["best"]["accuracy"], abs=1e-9)


def test_same_spec_same_weights(place, teacher):
    again = place.client.finish(place.client.submit(spec_of(place))["id"])

    def weights(job):
        files = place.client.get(f"/v1/jobs/{job['id']}/checkpoints").json["data"][-1]["files"]
        return [f["sha256"] for f in files if f["name"] == "model.safetensors"]

    assert weights(again) == weights(teacher)


def truncated(place):
    shutil.copytree(place.models / "student", place.models / "cut")
    whole = place.models / "cut" / "model.safetensors"
    header = json.dumps({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    whole.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 7)
    return {"student_id": str(place.models / "cut"), "student_init": "pretrained"}


def no_weights(place):
    return {"student_id": str(place.models / "student"), "student_init": "pretrained"}


def foreign_tokenizer(place):
    shutil.copytree(place.models / "student", place.models / "foreign")
    config = json.loads((place.models / "foreign" / "config.json").read_text())
    config["vocab_size"] = 50
    (place.models / "foreign" / "config.json").write_text(json.dumps(config))
    return {"student_id": str(place.models / "foreign")}


def rows(place, name, text):
    folder = place.models / name
    folder.mkdir()
    (folder / "train.csv").write_text(text)
    (folder / "validation.csv").write_text("text,label\nhello there,other\n")
    return {"dataset_id": str(folder)}


BAD_FILES = [
    ("truncated weights", truncated, "/student_id", "model.safetensors"),
    ("no weights", no_weights, "/student_id", "model.safetensors"),
    ("a tokenizer of another model", foreign_tokenizer, "/student_id", "vocabulary has 50"),
    ("a broken quote", lambda p: rows(p, "quote", 'text,label\nhi,other\n"half,other\n'), "/dataset_id", "line 3"),
    ("an empty text", lambda p: rows(p, "empty", "text,label\nhi,other\n,other\n"), "/dataset_id", "empty"),
    ("an empty split", lambda p: rows(p, "nothing", "text,label\n"), "/dataset_id", "train"),
]


@pytest.mark.parametrize("make, pointer, words", [row[1:] for row in BAD_FILES], ids=[row[0].replace(" ", "-") for row in BAD_FILES])
def test_bad_files(place, make, pointer, words):
    """validate says it before anything runs; a job that is posted all the same fails as bad_input, and nothing else is disturbed."""
    spec = spec_of(place, **make(place))
    report = place.client.post("/v1/jobs:validate", spec, 200).json
    assert not report["valid"] and any(e["pointer"] == pointer and words in e["detail"] for e in report["errors"]), report["errors"]
    job = place.client.finish(place.client.submit(spec)["id"])
    assert job["status"] == "failed" and job["error"]["reason"] == "bad_input", job
    assert words in json.dumps(job["error"]), job["error"]
    place.client.get("/readyz")


def test_labels_the_teacher_does_not_know(place, teacher):
    folder = place.models / "others"
    folder.mkdir()
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text('{"text":"hi","label":"greeting"}\n{"text":"bye","label":"farewell"}\n')
    spec = spec_of(place, teacher_id=teacher["id"], student_id=str(place.models / "student"), alpha=0.5, dataset_id=str(folder))
    (error,) = place.client.post("/v1/jobs:validate", spec, 200).json["errors"]
    assert "greeting" in error["detail"] and "cancel_order" in error["detail"], error
    job = place.client.finish(place.client.submit(spec)["id"])
    assert job["error"]["reason"] == "bad_input" and "greeting" in job["error"]["message"], job["error"]


def test_long_texts_are_cut_and_counted(place):
    folder = place.models / "long"
    folder.mkdir()
    words = " ".join(random.Random(1).choices("where is my parcel it should be here".split(), k=400))
    (folder / "train.jsonl").write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in ((words, "a"), ("short", "b"))))
    (folder / "validation.jsonl").write_text('{"text":"short","label":"b"}\n')
    job = place.client.finish(place.client.submit(spec_of(place, dataset_id=str(folder), max_length=16, epochs=1))["id"])
    assert job["status"] == "succeeded", job["error"]
    events = place.client.get(f"/v1/jobs/{job['id']}/events?limit=1000").json["data"]
    (loaded,) = [e["data"] for e in events if e["type"] == "data.loaded"]
    assert loaded["truncated_rows"] == 1


def test_deleted_while_it_runs(place):
    job = place.client.submit(spec_of(place, epochs=10000))
    place.client.wait(job["id"], "epoch.completed")
    with place.client.stream("/v1/events") as stream:
        assert place.client.request("DELETE", "/v1/jobs/" + job["id"]).status == 202
        for frame in stream:
            if frame.event == "job.deleted" and frame.data["job_id"] == job["id"]:
                break
    place.client.get("/v1/jobs/" + job["id"], 404)
    place.client.get("/readyz")


# ---- a job that is disturbed ends as one that is not ----

def kill_worker(place, job, attempt):
    started = place.client.follow(job["id"], lambda e: e["type"] == "run.started" and e["attempt"] == attempt)[-1]
    os.kill(started["data"]["pid"], signal.SIGKILL)


def pause(place, job, attempt):
    place.client.post(f"/v1/jobs/{job['id']}/pause", status=202)
    place.client.wait(job["id"], "job.paused")
    place.client.post(f"/v1/jobs/{job['id']}/resume")


def restart_server(place, job, attempt):
    place.stop()
    place.start()


def kill_server(place, job, attempt):
    place.kill()
    place.start(place.client.port)


DISTURBANCES = [("worker killed", kill_worker), ("paused", pause), ("server stopped", restart_server), ("server killed", kill_server),
                ("worker killed again", kill_worker)]


def result(place, job):
    epochs = place.client.get(f"/v1/jobs/{job['id']}/epochs").json["data"]
    best = place.client.get(place.client.get(f"/v1/jobs/{job['id']}/checkpoints/best", 307).headers["location"]).json
    timing = ("seconds", "eta_s", "samples_per_s", "job_id", "attempt", "event_seq", "created_at")
    return ([{k: v for k, v in e.items() if k not in timing} for e in epochs],
            {f["name"]: f["sha256"] for f in best["files"] if f["name"] in ("model.safetensors", "config.json")}, best["epoch"])


def test_a_disturbed_job_ends_bit_by_bit_as_an_undisturbed_one(place, teacher):
    spec = spec_of(place, teacher_id=teacher["id"], student_id=str(place.models / "student"), alpha=0.5, temperature=4, epochs=40,
                   checkpoint_interval_s=1)
    undisturbed = place.client.finish(place.client.submit(spec)["id"])
    assert undisturbed["status"] == "succeeded" and undisturbed["attempt"] == 1
    job = place.client.submit(spec)
    attempt = 1
    for i, (name, disturb) in enumerate(DISTURBANCES):
        epoch = 3 * (i + 1)
        place.client.follow(job["id"], lambda e: e["type"] == "epoch.completed" and e["data"]["epoch"] == epoch)
        disturb(place, job, attempt)
        attempt += disturb is not kill_server
    done = place.client.finish(job["id"])
    assert done["status"] == "succeeded", done["error"]
    assert done["attempt"] == 5 and done["restarts"] <= 2, done["status_history"]
    assert result(place, job) == result(place, undisturbed)
    events = place.client.get(f"/v1/jobs/{job['id']}/events?limit=1000&progress=false").json["data"]
    counted = [e["data"]["epoch"] for e in events if e["type"] == "epoch.completed" and not e["superseded"]]
    assert counted == list(range(1, 41))
    assert [e["attempt"] for e in events if e["type"] == "run.resumed"] == [2, 3, 4, 5]
