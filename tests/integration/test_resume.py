# SPDX-License-Identifier: Apache-2.0
"""A run that goes on from another's saved state, without a server, on small copies of the example's models. That it can be
interrupted anywhere is tests/faults' business; here is what a user sees."""
import hashlib
import json
import resource
import shutil
import signal
import subprocess
import time

import pytest

from harness import ROOT, TIMEOUT_S, WORKER
from test_worker_run import Listener, run_reporting

pytestmark = pytest.mark.skipif(not WORKER.exists(), reason="built without libtorch")
TIME = 3 * TIMEOUT_S
EXACT = ("epoch", "step", "train_loss", "train_ce_loss", "train_kd_loss", "eval_loss", "eval_ce_loss", "eval_kd_loss", "eval_accuracy",
         "learning_rate", "best")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    for name in ("teacher", "student"):
        shutil.copytree(ROOT / "examples" / "models" / name, root / name)
        config = json.loads((root / name / "config.json").read_text())
        config.update(num_hidden_layers=1, hidden_size=32, num_attention_heads=2, intermediate_size=64)
        (root / name / "config.json").write_text(json.dumps(config))
    shutil.copytree(ROOT / "examples" / "intents", root / "data")
    rows = (root / "data" / "train.jsonl").read_text().splitlines(True)
    (root / "data" / "train.jsonl").write_text("".join(rows[::3]))
    return root


def spec_of(parts, **changes):
    spec = {"student_id": str(parts / "student"), "dataset_id": str(parts / "data"), "student_init": "random", "alpha": 1, "epochs": 4,
            "learning_rate": 5e-3, "per_device_train_batch_size": 16, "seed": 3}
    spec.update(changes)
    return {k: v for k, v in spec.items() if v is not ...}


def start(folder, spec, previous=None, **how):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(json.dumps(spec))
    more = ("--resume-from", previous / "run") if previous else ()
    return subprocess.Popen([WORKER, "run", "--spec", folder / "spec.json", "--dir", folder / "run", "--threads", "1", *more],
                            stdout=subprocess.PIPE, text=True, **how)


def finish(process):
    out, _ = process.communicate(timeout=TIME)
    return process.returncode, [json.loads(line) for line in out.splitlines()]


def until(process, is_it):
    """The events up to the first that is it."""
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if is_it(events[-1]):
            return events
    raise AssertionError(events[-1])


def of_type(events, kind):
    return [e["data"] for e in events if e["type"] == kind]


def exact(epochs):
    return [{k: e.get(k) for k in EXACT} for e in epochs]


def weights(folder):
    return [hashlib.sha256((folder / "run" / "checkpoints" / name / "model.safetensors").read_bytes()).hexdigest() for name in ("best", "last")]


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    status, events = finish(start(folder, spec_of(parts)))
    assert status == 0, events[-1]
    return folder, events


@pytest.mark.parametrize("number,status", [(signal.SIGKILL, -9), (signal.SIGTERM, 5)], ids=["killed", "stopped"])
def test_a_run_that_goes_on_ends_like_one_that_was_never_interrupted(parts, whole, tmp_path, number, status):
    process = start(tmp_path / "a", spec_of(parts))
    events = until(process, lambda e: e["type"] == "checkpoint.written" and e["data"]["epoch"] == 2)
    events += until(process, lambda e: e["type"] == "train.progress")
    process.send_signal(number)
    got, rest = finish(process)
    events += rest
    assert got == status
    if number == signal.SIGTERM:
        assert events[-1]["type"] == "run.stopped" and events[-1]["data"]["epoch"] >= 2
    status, after = finish(start(tmp_path / "b", spec_of(parts), tmp_path / "a"))
    assert status == 0, after[-1]
    (resumed,) = of_type(after, "run.resumed")
    assert resumed["from_epoch"] >= 1 and resumed["from_step"] > 0 and resumed["checkpoints"]
    if number == signal.SIGTERM:
        assert (resumed["from_step"], resumed["from_epoch"]) == (events[-1]["data"]["step"], events[-1]["data"]["epoch"])
    epochs = [e for e in of_type(events, "epoch.completed") if e["epoch"] <= resumed["from_epoch"]] + of_type(after, "epoch.completed")
    assert exact(epochs) == exact(of_type(whole[1], "epoch.completed"))
    assert weights(tmp_path / "b") == weights(whole[0])
    # a checkpoint is told once, whichever run wrote it; the model card and the history know all epochs
    taken = set(resumed["checkpoints"])
    assert taken <= {c["checkpoint_id"] for c in of_type(events, "checkpoint.written")}
    assert not taken & {c["checkpoint_id"] for c in of_type(after, "checkpoint.written")}
    history = json.loads((tmp_path / "b" / "run" / "checkpoints" / "last" / "trainer_state.json").read_text())["log_history"]
    assert [h["epoch"] for h in history if "eval_loss" in h] == [1, 2, 3, 4]
    assert not (tmp_path / "b" / "run" / "resume").exists(), "nobody goes on from a run that is done"


def test_a_state_is_saved_while_an_epoch_runs(parts, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(parts, mine)
    rows = (mine / "data" / "train.jsonl").read_text()
    (mine / "data" / "train.jsonl").write_text(rows * 20)  # an epoch of many seconds
    spec = spec_of(mine, epochs=1, per_device_train_batch_size=1, checkpoint_interval_s=1)
    process = start(tmp_path / "a", spec)
    resume = tmp_path / "a" / "run" / "resume"
    until(process, lambda e: e["type"] == "train.progress" and any(resume.glob("state-*")))
    process.kill()
    finish(process)
    process = start(tmp_path / "b", spec, tmp_path / "a")
    resumed = until(process, lambda e: e["type"] == "run.resumed")[-1]["data"]
    process.kill()
    process.communicate()
    assert resumed["from_epoch"] == 0 and resumed["from_step"] > 0 and resumed["checkpoints"] == []


def test_without_a_state_a_run_begins_anew_and_says_so(parts, whole, tmp_path):
    (tmp_path / "nothing" / "run").mkdir(parents=True)
    status, events = finish(start(tmp_path / "a", spec_of(parts), tmp_path / "nothing"))
    assert status == 0
    assert of_type(events, "run.resumed") == [{"from_step": 0, "from_epoch": 0, "checkpoints": []}]
    assert any("no state was saved" in e["message"] for e in events if e["level"] == "warn")
    assert weights(tmp_path / "a") == weights(whole[0])


def stopped(parts, folder, **changes):
    """A run that was stopped behind its first checkpoint."""
    process = start(folder, spec_of(parts, **changes))
    until(process, lambda e: e["type"] == "checkpoint.written")
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 5


def test_other_data_weights_or_settings_are_an_error_by_field(parts, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(parts, mine)
    stopped(mine, tmp_path / "a")
    status, events = finish(start(tmp_path / "b", spec_of(mine, learning_rate=1e-3), tmp_path / "a"))
    (failed,) = of_type(events, "run.failed")
    assert status == 1 and failed["reason"] == "bad_input"
    assert [e["pointer"] for e in failed["errors"]] == ["/learning_rate"] and "0.005" in failed["errors"][0]["detail"]
    rows = (mine / "data" / "train.jsonl").read_text().splitlines(True)
    (mine / "data" / "train.jsonl").write_text("".join(rows[1:] + rows[:1]))
    config = json.loads((mine / "student" / "config.json").read_text())
    (mine / "student" / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.2}))
    status, events = finish(start(tmp_path / "c", spec_of(mine), tmp_path / "a"))
    (failed,) = of_type(events, "run.failed")
    assert status == 1 and {e["pointer"] for e in failed["errors"]} == {"/dataset_id", "/student_id"}, failed
    assert not list((tmp_path / "c").glob("run/checkpoints/.tmp*"))


def test_the_deadline_counts_all_attempts(parts, tmp_path):
    """No attempt lasts as long as is allowed, and still the limit is reached."""
    limit, previous, seconds = 8, None, []
    for i in range(20):
        began = time.monotonic()
        process = start(tmp_path / str(i), spec_of(parts, epochs=10000, max_runtime_s=limit), previous)
        events = until(process, lambda e: e["type"] in ("train.progress", "run.failed"))
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        status, rest = finish(process)
        seconds.append(time.monotonic() - began)
        if status == 1:
            break
        assert status == 5, rest[-1]
        previous = tmp_path / str(i)
    (failed,) = of_type(events + rest, "run.failed")
    assert failed["reason"] == "deadline" and failed["seconds"] > limit
    assert len(seconds) > 1 and max(seconds) < limit, seconds


def test_a_second_signal_ends_it_without_saving(parts, tmp_path):
    process = start(tmp_path / "a", spec_of(parts, epochs=10000))
    for _ in range(2):  # an epoch's state is written behind its checkpoint's event, and before the next epoch's checkpoint
        until(process, lambda e: e["type"] == "checkpoint.written")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    status, events = finish(process)
    assert status == 5 and events[-1]["type"] == "run.stopped"
    status, events = finish(start(tmp_path / "b", spec_of(parts, epochs=1), tmp_path / "a"))
    assert status == 1 and of_type(events, "run.failed")[0]["errors"][0]["pointer"] == "/epochs"


def test_a_server_pauses_a_run(parts, whole, tmp_path):
    listener = Listener(cancel_at="checkpoint.written", word="pause")
    status, events = run_reporting(tmp_path / "a", spec_of(parts), listener, "--threads", "1")
    assert status == 4 and events[-1]["type"] == "run.paused" and listener.lines == events
    assert events[-1]["data"]["step"] > 0
    status, events = finish(start(tmp_path / "b", spec_of(parts), tmp_path / "a"))
    assert status == 0 and weights(tmp_path / "b") == weights(whole[0])


def test_a_full_memory_is_called_that(parts, tmp_path):
    """One tensor of four gigabytes where a process may have one and a half; of the last layer only the first tokens are computed."""
    mine = tmp_path / "mine"
    shutil.copytree(parts, mine)
    config = json.loads((mine / "student" / "config.json").read_text())
    (mine / "student" / "config.json").write_text(json.dumps(config | {"intermediate_size": 32768, "num_hidden_layers": 2}))
    row = json.loads((mine / "data" / "train.jsonl").read_text().splitlines()[0]) | {"text": "where is my parcel " * 30}
    rows = (mine / "data" / "train.jsonl").read_text() + (json.dumps(row) + "\n") * 1024
    (mine / "data" / "train.jsonl").write_text(rows)
    status, events = finish(start(tmp_path, spec_of(mine, per_device_train_batch_size=2048, shuffle=False), None,
                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1536 << 20, 1536 << 20))))
    assert status == 1 and of_type(events, "run.failed")[0]["reason"] == "out_of_memory", events[-1]
    assert "per_device_train_batch_size" in events[-1]["message"]
