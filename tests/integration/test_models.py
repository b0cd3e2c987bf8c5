# SPDX-License-Identifier: Apache-2.0
"""POST /v1/models/{model}/soft-labels with a real worker and small models."""
import json
import math
import os
import pathlib
import signal
import subprocess
import time
import urllib.parse

import pytest

from harness import ROOT, WORKER, Server, in_threads

EXAMPLE = ROOT / "examples"
TEXTS = ["where is my parcel", "i was charged twice", "the box is empty", "ünïcödé \" \\ text\nof two lines"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    if not WORKER.exists():
        pytest.skip(f"{WORKER} is not built")
    folder = tmp_path_factory.mktemp("place")
    s = Server(folder, worker=WORKER, roots=[EXAMPLE])
    data = s.models / "few"
    data.mkdir()
    for split, n in (("train", 120), ("validation", 60)):
        lines = (EXAMPLE / "intents" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        (data / f"{split}.jsonl").write_text("\n".join(lines[:: len(lines) // n]) + "\n", encoding="utf-8")
    s.start()
    yield s
    s.stop()


@pytest.fixture(scope="module")
def job(place):
    spec = {"student_id": str(EXAMPLE / "models" / "student"), "dataset_id": str(place.models / "few"), "student_init": "random", "alpha": 1, "epochs": 1,
            "max_length": 24}
    job = place.client.submit(spec)
    done = place.client.finish(job["id"])
    assert done["status"] == "succeeded", done["error"]
    return done


def ask(place, ref, body, status=200):
    return place.client.post(f"/v1/models/{urllib.parse.quote(ref, safe='')}/soft-labels", body, status=status).json


def softmax(logits, t):
    e = [math.exp((x - max(logits)) / t) for x in logits]
    return [x / sum(e) for x in e]


def residents(place):
    out = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(place.process.pid)], stdout=subprocess.PIPE, text=True, check=False).stdout
    return [int(line.split()[0]) for line in out.splitlines() if " logits " in line]


def test_probabilities_are_the_softmax_of_the_workers_logits(place, job):
    best = place.data / "runs"
    dirs = [p.parent for p in best.rglob("model.safetensors")]
    assert len(dirs) == 1
    out = subprocess.run([WORKER, "logits", "--model", dirs[0]], input="".join(json.dumps({"text": t}) + "\n" for t in TEXTS), stdout=subprocess.PIPE,
                         text=True, check=True).stdout
    expected = [json.loads(line)["logits"] for line in out.splitlines()]
    names = json.loads((dirs[0] / "config.json").read_text())["id2label"]
    for text, logits in zip(TEXTS, expected):
        got = ask(place, job["id"], {"text": text, "temperatures": [4, 0.5]})
        assert got["labels"] == [names[str(i)] for i in range(len(logits))]
        assert got["logits"] == pytest.approx(logits, abs=1e-4)
        assert [d["temperature"] for d in got["distributions"]] == [1, 4, 0.5]
        for d in got["distributions"]:
            p = softmax(got["logits"], d["temperature"])
            assert d["probabilities"] == pytest.approx(p, rel=1e-9)
            assert sum(d["probabilities"]) == pytest.approx(1)
            assert d["entropy"] == pytest.approx(-sum(x * math.log(x) for x in p))
        assert got["distributions"][1]["entropy"] > got["distributions"][0]["entropy"] > got["distributions"][2]["entropy"]


def test_a_path_is_a_model_too_and_the_process_stays(place, job):
    folder = next(p.parent for p in (place.data / "runs").rglob("model.safetensors"))
    by_path = ask(place, str(folder), {"text": TEXTS[0]})
    by_job = ask(place, job["id"], {"text": TEXTS[0]})
    assert by_path["logits"] == by_job["logits"] and len(by_path["distributions"]) == 1
    before = residents(place)
    assert len(before) == 1
    ask(place, job["id"], {"text": TEXTS[1]})
    assert residents(place) == before


def test_many_ask_at_once_and_each_gets_its_own(place, job):
    texts = [f"text number {i} " + "word " * i for i in range(12)]
    alone = [ask(place, job["id"], {"text": t})["logits"] for t in texts]
    assert len({tuple(x) for x in alone}) == len(texts)
    together = in_threads(12, lambda i: ask(place, job["id"], {"text": texts[i]})["logits"])
    assert together == alone


def test_a_killed_process_is_replaced(place, job):
    ask(place, job["id"], {"text": TEXTS[0]})
    for pid in residents(place):
        os.kill(pid, signal.SIGKILL)
    assert ask(place, job["id"], {"text": TEXTS[0]})["object"] == "model.soft_labels"


def test_a_model_that_cannot_be_asked_says_why(place, job):
    """A folder with no weights: the worker's own words come back, and the server goes on."""
    error = ask(place, str(EXAMPLE / "models" / "student"), {"text": "x"}, 422)
    assert "cannot be asked" in error["detail"] and "safetensors" in error["detail"]
    assert ask(place, job["id"], {"text": TEXTS[0]})["labels"]


@pytest.mark.parametrize("ref", ["job_01ARZ3NDEKTSV4RRFFQ69G5FAV", "/etc", "/nowhere", "org/name", "job_x", ".."])
def test_no_such_model(place, ref):
    ask(place, ref, {"text": "x"}, 404)


@pytest.mark.parametrize("body, pointer", [
    ({}, "/text"), ({"text": ""}, "/text"), ({"text": 3}, "/text"), ({"text": "x" * 16385}, "/text"), ({"text": "x", "temperature": 4}, "/temperature"),
    ({"text": "x", "temperatures": 4}, "/temperatures"), ({"text": "x", "temperatures": [1] * 33}, "/temperatures"),
    ({"text": "x", "temperatures": [4, 0]}, "/temperatures/1"), ({"text": "x", "temperatures": [-1]}, "/temperatures/0"),
    ({"text": "x", "temperatures": ["4"]}, "/temperatures/0"), ({"text": "x", "temperatures": [1001]}, "/temperatures/0")])
def test_wrong_questions_name_the_field(place, job, body, pointer):
    assert ask(place, job["id"], body, 422)["errors"][0]["pointer"] == pointer


def test_other_bodies(place, job):
    place.client.post(f"/v1/models/{job['id']}/soft-labels", "[]", status=400)
    place.client.post(f"/v1/models/{job['id']}/soft-labels", "{", status=400)
    place.client.post(f"/v1/models/{job['id']}/soft-labels", "x" * 70000, status=413)


def test_a_client_that_leaves_does_no_harm(place, job):
    for _ in range(3):
        conn = place.client.connect()
        conn.request("POST", f"/v1/models/{job['id']}/soft-labels", json.dumps({"text": "I leave"}), {"Content-Type": "application/json"})
        conn.close()
    assert ask(place, job["id"], {"text": TEXTS[0]})["labels"]


def test_the_server_ends_while_a_model_loads(tmp_path, place, job):
    """No process is left, and the server ends cleanly."""
    s = Server(tmp_path, worker=WORKER, roots=[place.data])
    s.start()
    folder = next(p.parent for p in (place.data / "runs").rglob("model.safetensors"))
    conn = s.client.connect()
    conn.request("POST", f"/v1/models/{urllib.parse.quote(str(folder), safe='')}/soft-labels", json.dumps({"text": "x"}), {"Content-Type": "application/json"})
    end = time.monotonic() + 10
    while not residents(s) and time.monotonic() < end:
        time.sleep(0.01)
    left = residents(s)
    s.stop()
    conn.close()
    assert left
    for pid in left:
        assert not pathlib.Path(f"/proc/{pid}/cmdline").exists() or b"logits" not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
