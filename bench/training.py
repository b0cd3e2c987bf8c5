# SPDX-License-Identifier: Apache-2.0
"""What training takes: shares of the machine's peak, whole jobs beside the peer's, memory, growth with rows and with length.

A whole job of real size takes this machine minutes and the peer hours, so both are put together from parts that are measured in the same
way: the seconds of a step, of an evaluated row, of what else there is. docs/performance.md says how."""
import json
import pathlib
import random
import shutil
import statistics
import tempfile

import place
from place import CLINC, PEER, SHARED, ratio_text, say, spread, timed

EPOCHS = 10
BIG = {"teacher": "teacher-large", "student": "student-minilm"}
PEER_BEST = ["--bf16", "--teacher-bf16", "--group"]


# ---- one job of ours ----

def at_s(event):
    h, m, s = event["at"][11:-1].split(":")
    return int(h) * 3600 + int(m) * 60 + float(s)


def parts_of(out):
    """Seconds by what they were spent on, from a run's events."""
    events = [json.loads(line) for line in out["stdout"].splitlines()]
    if out["status"] != 0:
        raise RuntimeError(f"retort-worker run: {events[-1:]}")
    last = {e["type"]: e["data"] for e in events}
    epochs = [e["data"] for e in events if e["type"] == "epoch.completed"]
    rows, validation = last["data.loaded"]["train_rows"], last["data.loaded"]["validation_rows"]
    train = [rows / e["samples_per_s"] for e in epochs]
    evaluation = [e["seconds"] - t for e, t in zip(epochs, train)]
    teacher = last.get("teacher.completed", {"seconds": 0, "forwards_done": 0})
    first = next(e for e in events if e["type"] == "run.phase" and e["data"]["phase"] == "training")
    start_s = out["wall_s"] - (at_s(events[-1]) - at_s(first)) % 86400 - teacher["seconds"]
    return {"wall_s": out["wall_s"], "peak_bytes": out["peak_bytes"], "others": out["others"], "start_s": start_s, "teacher_s": teacher["seconds"],
            "teacher_texts": teacher["forwards_done"], "steps": epochs[-1]["step"], "train_s": sum(train), "eval_s": sum(evaluation),
            "rows": rows, "eval_rows": validation, "epochs": len(epochs), "best_accuracy": last["run.succeeded"].get("best_accuracy"),
            "other_s": out["wall_s"] - start_s - teacher["seconds"] - sum(train) - sum(evaluation)}


def has_cache(args):
    usage = timed([args.build / "worker" / "retort-worker", "--help"], check=False)
    return "--cache" in usage["stdout"]


def our_job(args, spec, cache=None):
    with tempfile.TemporaryDirectory(prefix="retort-bench-") as folder:
        with open(f"{folder}/spec.json", "w", encoding="utf-8") as f:
            json.dump(spec, f)
        command = [args.build / "worker" / "retort-worker", "run", "--spec", f"{folder}/spec.json", "--dir", f"{folder}/out", "--threads", args.threads]
        out = timed(command + (["--cache", cache] if cache else []), check=False)
    return parts_of(out)


def whole(p, rows, eval_rows, texts, epochs, batch=64):
    """The seconds of a whole job out of those of a part of it."""
    return (p["start_s"] + (p["teacher_s"] / p["teacher_texts"] * texts if p["teacher_texts"] else 0) +
            epochs * (p["train_s"] / p["steps"] * rows / batch + p["eval_s"] / p["epochs"] / p["eval_rows"] * eval_rows + p["other_s"] / p["epochs"]))


# ---- one job of the peer ----

def peer_steps(args, script, teacher, student, steps, evals, options, free=False, cwd=None):
    out = timed([SHARED / "peer" / "run", "-r", PEER, script, "/shared/peer/hf_distill.py", steps, evals, "free" if free else "asked", "--teacher", teacher,
                 "--student", student, "--data", "/shared/" + CLINC["dataset_id"], "--threads", args.threads, *options],
                env=place.peer_env(), cwd=cwd or "/tmp")
    return {**json.loads(out["stdout"].strip().splitlines()[-1]), "others": out["others"]}


def peer_whole(p, rows, eval_rows, epochs, batch=64):
    return epochs * (statistics.mean(p["steps"]) * rows / batch + p["eval"]["seconds"] / p["eval"]["batches"] * eval_rows / batch)


# ---- data ----

def sample(rows, n):
    """n rows, the same in every run. Every label is kept: the classes are those of the training rows."""
    rng = random.Random(0)
    first, rest, seen = [], [], set()
    for row in rng.sample(rows, len(rows)):
        (rest if row[1] in seen else first).append(row)
        seen.add(row[1])
    out = (first + rest)[:n]
    rng.shuffle(out)
    return out


def write_texts(path, rows):
    pathlib.Path(path).write_text("".join(text + "\n" for text, _ in rows), encoding="utf-8")


def write_data(path, train, val):
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"train": train, "val": val}, f)


def named_teacher(folder, models, labels):
    """The teacher with the data set's classes in its config.json, as a trained one has them. The peer gives the names by hand."""
    to = pathlib.Path(folder, BIG["teacher"])
    to.mkdir()
    for f in (models / BIG["teacher"]).iterdir():
        (to / f.name).symlink_to(f)
    config = json.loads((to / "config.json").read_text(encoding="utf-8"))
    config["id2label"] = {str(i): n for i, n in enumerate(labels)}
    config["label2id"] = {n: i for i, n in enumerate(labels)}
    (to / "config.json").unlink()
    (to / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return to


def quietness(rounds):
    """A sentence on what others took of the CPUs while this was measured."""
    worst = max(side["others"] for r in rounds for side in r.values() if isinstance(side, dict) and "others" in side)
    return f"Others took up to {worst * 100:.0f} % of the CPUs meanwhile."


# ---- shares of the peak ----

def bench_step(args, *more):
    return json.loads(timed([args.build / "bench" / "bench_step", *more, "--threads", args.threads])["stdout"])


def peak(args):
    out = bench_step(args, "peak")
    return {"by_size": out, **{p: max(out[p].values()) for p in out}}


def rates(step, peak_gflops):
    done = {k: sum(s[k] for s in step) for k in ("seconds", "tokens", "flop", "flop_all")}
    median = statistics.median(s["flop"] / s["seconds"] for s in step) / 1e9
    return {"seconds": statistics.median(s["seconds"] for s in step), "gflops": median, "share": median / peak_gflops,
            "share_all": done["flop_all"] / done["seconds"] / 1e9 / peak_gflops}


def shares(args):
    models, lacks = place.models(args)
    if lacks or (lacks := place.missing(peer=False)):
        return {"skipped": lacks}
    out = {"peak": peak(args)}
    with tempfile.TemporaryDirectory(prefix="retort-bench-") as folder:
        train = place.clinc()["train"]
        write_texts(f"{folder}/texts", sample(train, len(train)))
        write_texts(f"{folder}/some", sample(train, args.teacher_rows))
        for precision in ("bf16", "fp32"):
            few = precision == "fp32"
            t = bench_step(args, "forward", "--model", models / BIG["teacher"], "--labels", 151, "--texts", f"{folder}/some", "--precision", precision,
                           "--batch", 64, "--repeats", 1 if few or args.quick else 2)
            t["share"] = t["flop"] / min(t["seconds"]) / 1e9 / out["peak"][precision]
            t["share_all"] = t["flop_all"] / min(t["seconds"]) / 1e9 / out["peak"][precision]
            s = bench_step(args, "train", "--model", models / BIG["student"], "--labels", 151, "--texts", f"{folder}/texts", "--precision", precision,
                           "--batch", 64, "--repeats", 20 if few or args.quick else 60)
            out[precision] = {"teacher": t, "student": {**rates(s["steps"], out["peak"][precision]), "steps": len(s["steps"])}}
    return out


def shares_table(r):
    if "skipped" in r:
        yield f"Shares of the peak: skipped ({r['skipped']})."
        return
    yield "| teacher-large, student-minilm, CLINC plus, batch 64 | bf16 | fp32 |\n| --- | --- | --- |"
    sizes = {p: max(r["peak"]["by_size"][p], key=r["peak"]["by_size"][p].get) for p in ("bf16", "fp32")}
    yield "| peak: best square product (its size) | " + " | ".join(f"{r['peak'][p]:.0f} GFLOP/s ({sizes[p]})" for p in ("bf16", "fp32")) + " |"
    for name, of in (("teacher pass", "teacher"), ("student step, optimizer included", "student")):
        yield f"| {name}, share of the peak | " + " | ".join(f"**{r[p][of]['share'] * 100:.0f} %**" for p in ("bf16", "fp32")) + " |"
        yield "| … with the whole last layer counted | " + " | ".join(f"{r[p][of]['share_all'] * 100:.0f} %" for p in ("bf16", "fp32")) + " |"
    yield "| teacher, texts a second | " + " | ".join(f"{r[p]['teacher']['texts'] / min(r[p]['teacher']['seconds']):.0f}" for p in ("bf16", "fp32")) + " |"
    yield "| student step of 64 texts | " + " | ".join(f"{r[p]['student']['seconds'] * 1000:.0f} ms" for p in ("bf16", "fp32")) + " |"


# ---- the job of real size ----

def job(args):
    models, lacks = place.models(args)
    if lacks or (lacks := place.missing()):
        return {"skipped": lacks}
    data = place.clinc()
    script, cached = place.to_peer("peer_steps.py"), has_cache(args)
    sizes = {"rows": len(data["train"]), "eval_rows": len(data["val"])}
    texts = len({t for rows in data.values() for t, _ in rows})
    rounds, peer_options = [], ["--alpha", "0.5", "--temperature", "4", "--lr", "1e-4"]
    with tempfile.TemporaryDirectory(prefix="retort-bench-") as folder:
        teacher = named_teacher(folder, models, sorted({label for _, label in data["train"]}))
        write_data(f"{folder}/data.json", sample(data["train"], args.teacher_rows), sample(data["val"], args.teacher_rows // 5))
        spec = {"teacher_id": str(teacher), "student_id": str(models / BIG["student"]), "dataset_id": f"{folder}/data.json", "alpha": 0.5, "temperature": 4,
                "learning_rate": 1e-4, "epochs": 4, "precision": "bf16", "teacher_precision": "bf16"}
        for i in range(args.repeats):
            say(f"job of real size: {i + 1} of {args.repeats}")
            row, cache = {"cached": None}, f"{folder}/cache{i}"
            row["ours"] = our_job(args, {**spec, "seed": 33 + i}, cache if cached else None)
            row["peer"] = peer_steps(args, script, f"/here/{BIG['teacher']}", f"/here/{BIG['student']}", args.peer_steps, 3, peer_options, cwd=models)
            if cached:
                row["cached"] = our_job(args, {**spec, "seed": 133 + i, "epochs": 2}, cache)
            row["best"] = peer_steps(args, script, f"/here/{BIG['teacher']}", f"/here/{BIG['student']}", 2 * args.peer_steps, 6, peer_options + PEER_BEST,
                                     cwd=models)
            # without a cache of logits: the same run less its teacher pass, said so in the table
            mine = row["cached"] or {**row["ours"], "teacher_s": 0, "teacher_texts": 0}
            row["whole"] = {"ours": whole(row["ours"], **sizes, texts=texts, epochs=EPOCHS), "cached": whole(mine, **sizes, texts=0, epochs=EPOCHS),
                            "peer": peer_whole(row["peer"], **sizes, epochs=EPOCHS), "best": peer_whole(row["best"], **sizes, epochs=EPOCHS)}
            rounds.append(row)
            say("seconds of whole jobs: " + ", ".join(f"{k} {v:.0f}" for k, v in row["whole"].items()))
            shutil.rmtree(cache, ignore_errors=True)
    out = {"epochs": EPOCHS, "has_cache": cached, "rounds": rounds}
    for name, theirs, mine in (("default", "peer", "ours"), ("best", "best", "ours"), ("cached", "peer", "cached"), ("cached_best", "best", "cached")):
        out[name] = spread([r["whole"][theirs] / r["whole"][mine] for r in rounds])
    out["peak_bytes"] = {"ours": max(r["ours"]["peak_bytes"] for r in rounds), "peer": min(r["peer"]["peak_bytes"] for r in rounds),
                         "best": min(r["best"]["peak_bytes"] for r in rounds)}
    return out


def job_table(r):
    if "skipped" in r:
        yield f"The job of real size: skipped ({r['skipped']})."
        return

    def minutes(side):
        return f"{statistics.median(x['whole'][side] for x in r['rounds']) / 60:.1f} min"

    yield f"| teacher-large → student-minilm, CLINC plus, {r['epochs']} epochs, batch 64 | Retort | HF Trainer | ratio (min to max) |\n| --- | --- | --- | --- |"
    yield f"| against the workshop's script as it is | {minutes('ours')} | {minutes('peer')} | {ratio_text(r['default'])} |"
    yield f"| against its best settings (bf16, teacher in bf16, grouped by length) | {minutes('ours')} | {minutes('best')} | {ratio_text(r['best'])} |"
    note = "logits cached" if r["has_cache"] else "logits known (no cache in this build: the same run less its teacher pass)"
    yield f"| the same job again, {note}, against the script as it is | {minutes('cached')} | {minutes('peer')} | {ratio_text(r['cached'])} |"
    yield f"| … against its best settings | {minutes('cached')} | {minutes('best')} | {ratio_text(r['cached_best'])} |"
    m = r["peak_bytes"]
    yield (f"| peak memory | {m['ours'] / 2**20:.0f} MiB | {m['peer'] / 2**20:.0f} MiB (best settings: {m['best'] / 2**20:.0f}) | "
           f"{m['peer'] / m['ours']:.2f} ({m['best'] / m['ours']:.2f}) |")
    p = r["rounds"][len(r["rounds"]) // 2]["ours"]
    yield (f"\nRetort's parts, as measured: start {p['start_s']:.1f} s, teacher {p['teacher_texts'] / p['teacher_s']:.0f} texts/s, step "
           f"{p['train_s'] / p['steps'] * 1000:.0f} ms, evaluation {p['eval_s'] / p['epochs'] / p['eval_rows'] * 1e6:.0f} µs a row, the rest "
           f"{p['other_s'] / p['epochs']:.2f} s an epoch. The Trainer's seconds are those of its steps and evaluations alone. "
           f"{quietness(r['rounds'])}")


# ---- the student's step in fp32, without a teacher on either side ----

def fp32(args):
    models, lacks = place.models(args)
    if lacks or (lacks := place.missing()):
        return {"skipped": lacks}
    script, rounds = place.to_peer("peer_steps.py"), []
    with tempfile.TemporaryDirectory(prefix="retort-bench-") as folder:
        train = place.clinc()["train"]
        write_texts(f"{folder}/texts", sample(train, len(train)))
        for i in range(args.repeats):
            say(f"student's step in fp32: {i + 1} of {args.repeats}")
            mine = bench_step(args, "train", "--model", models / BIG["student"], "--labels", 151, "--texts", f"{folder}/texts", "--precision", "fp32", "--batch",
                              64, "--repeats", 20)
            theirs = peer_steps(args, script, f"/here/{BIG['student']}", f"/here/{BIG['student']}", 10, 0, ["--alpha", "0.5", "--temperature", "4"], free=True,
                                cwd=models)
            rounds.append({"ours": statistics.mean(s["seconds"] for s in mine["steps"]), "peer": statistics.mean(theirs["steps"])})
    return {"rounds": rounds, "ratio": spread([r["peer"] / r["ours"] for r in rounds])}


def fp32_table(r):
    if "skipped" in r:
        yield f"The student's step in fp32: skipped ({r['skipped']})."
        return
    mine, theirs = (statistics.median(x[s] for x in r["rounds"]) * 1000 for s in ("ours", "peer"))
    yield "| student-minilm, a step of 64 texts in fp32, no teacher on either side | Retort | HF Trainer | ratio |\n| --- | --- | --- | --- |"
    yield f"| mean step | {mine:.0f} ms | {theirs:.0f} ms | {ratio_text(r['ratio'])} |"


# ---- the small job ----

def small(args):
    if lacks := place.missing():
        return {"skipped": lacks}
    data, script, rounds, epochs = place.clinc(), place.to_peer("peer_steps.py"), [], 5
    options = ["--alpha", "0.5", "--temperature", "4", "--lr", "3e-4"]
    for i in range(args.repeats):
        say(f"small job: {i + 1} of {args.repeats}")
        row = {}
        for precision in ("bf16", "fp32"):
            spec = {**{k: str(SHARED / v) for k, v in CLINC.items()}, "alpha": 0.5, "temperature": 4, "learning_rate": 3e-4, "epochs": epochs,
                    "seed": 33 + i, "precision": precision, "teacher_precision": precision}
            row[precision] = our_job(args, spec)
        row["peer"] = peer_steps(args, script, "/shared/" + CLINC["teacher_id"], "/shared/" + CLINC["student_id"], 60, 12, options)
        row["peer_whole"] = peer_whole(row["peer"], len(data["train"]), len(data["val"]), epochs)
        rounds.append(row)
    return {"epochs": epochs, "rounds": rounds, **{p: spread([r["peer_whole"] / r[p]["wall_s"] for r in rounds]) for p in ("bf16", "fp32")}}


def small_table(r):
    if "skipped" in r:
        yield f"The small job: skipped ({r['skipped']})."
        return
    yield f"| clinc-teacher → clinc-student-init, CLINC plus, {r['epochs']} epochs, batch 64 | Retort, whole process | HF Trainer as it is (fp32) | ratio |\n| --- | --- | --- | --- |"
    theirs = statistics.median(x["peer_whole"] for x in r["rounds"])
    for p in ("bf16", "fp32"):
        yield f"| {p} | {statistics.median(x[p]['wall_s'] for x in r['rounds']):.1f} s | {theirs:.0f} s | {ratio_text(r[p])} |"
        yield f"| … best validation accuracy, mean | {statistics.mean(x[p]['best_accuracy'] for x in r['rounds']):.4f} | | |"
    yield f"\n{quietness(r['rounds'])}"


# ---- growth ----

def growth(args):
    models, lacks = place.models(args)
    if lacks or (lacks := place.missing(peer=False)):
        return {"skipped": lacks}
    data, out = place.clinc(), {"rows": {}, "tokens": {}}
    many = data["train"] + [[text + " please", label] for text, label in data["train"]]  # CLINC plus ends at 15,250
    with tempfile.TemporaryDirectory(prefix="retort-bench-") as folder:
        for n in (1000, 4000, 16000):
            say(f"growth: {n} rows")
            write_data(f"{folder}/data.json", sample(many, n), sample(data["val"], 500))
            spec = {"teacher_id": str(SHARED / CLINC["teacher_id"]), "student_id": str(SHARED / CLINC["student_id"]), "dataset_id": f"{folder}/data.json",
                    "alpha": 0.5, "temperature": 4, "epochs": 2, "precision": "bf16", "teacher_precision": "bf16"}
            runs = [our_job(args, spec) for _ in range(1 if args.quick else 3)]
            out["rows"][n] = {"wall_s": statistics.median(r["wall_s"] for r in runs), "peak_bytes": max(r["peak_bytes"] for r in runs)}
    for n in (8, 32, 128, 512):
        say(f"growth: {n} tokens")
        s = bench_step(args, "train", "--model", models / BIG["student"], "--labels", 151, "--tokens", n, "--precision", "bf16", "--batch", 16, "--repeats",
                       max(3, min(20, 2048 // n)))["steps"]
        seconds = statistics.median(x["seconds"] for x in s)
        out["tokens"][n] = {"seconds": seconds, "us_a_token": seconds * 1e6 / (16 * n), "gflops": s[0]["flop"] / seconds / 1e9}
    return out


def growth_table(r):
    if "skipped" in r:
        yield f"Growth: skipped ({r['skipped']})."
        return
    yield "| training rows (small job, 2 epochs, bf16, teacher included) | " + " | ".join(str(n) for n in r["rows"]) + " |"
    yield "| --- |" + " --- |" * len(r["rows"])
    yield "| whole process | " + " | ".join(f"{x['wall_s']:.1f} s" for x in r["rows"].values()) + " |"
    yield "| peak memory | " + " | ".join(f"{x['peak_bytes'] / 2**20:.0f} MiB" for x in r["rows"].values()) + " |"
    yield "\n| tokens a text (student-minilm, step of 16 texts, bf16) | " + " | ".join(str(n) for n in r["tokens"]) + " |"
    yield "| --- |" + " --- |" * len(r["tokens"])
    yield "| step | " + " | ".join(f"{x['seconds'] * 1000:.0f} ms" for x in r["tokens"].values()) + " |"
    yield "| a token | " + " | ".join(f"{x['us_a_token']:.0f} µs" for x in r["tokens"].values()) + " |"
    yield "| needed arithmetic | " + " | ".join(f"{x['gflops']:.0f} GFLOP/s" for x in r["tokens"].values()) + " |"
