# SPDX-License-Identifier: Apache-2.0
"""The contract itself: it says what the code says, and its examples are right."""
import json
import re
import subprocess

import pytest

from harness import BUILD, CONTRACT, ROOT


def test_spec_schema_is_the_codes():
    printed = json.loads(subprocess.run([BUILD / "tests" / "integration" / "print_schema"], check=True, stdout=subprocess.PIPE).stdout)
    ours = CONTRACT.raw["components"]["schemas"]["JobSpec"]
    for name in printed["properties"].keys() | ours["properties"].keys():
        assert ours["properties"].get(name) == printed["properties"].get(name), name
    assert ours == printed


def test_served_description_is_this_one(client):
    assert client.get("/openapi.json").json == json.loads(json.dumps(CONTRACT.raw))


def examples():
    for path, item in CONTRACT.raw["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for name, example in body.get("examples", {}).items():
                yield pytest.param(body["schema"], example["value"], id=f"{method} {path} {name}")
    for name, schema in CONTRACT.raw["components"]["schemas"].items():
        for i, example in enumerate(schema.get("examples", [])):
            yield pytest.param({"$ref": "#/components/schemas/" + name}, example, id=f"{name} {i}")


@pytest.mark.parametrize("schema, example", examples())
def test_example_is_valid(schema, example):
    CONTRACT.check(schema, example, "example")


def test_every_event_type_has_one_schema():
    schemas = CONTRACT.raw["components"]["schemas"]
    types = [schemas[CONTRACT.name_of(r["$ref"])]["properties"]["type"]["const"] for r in schemas["Event"]["oneOf"]]
    assert len(set(types)) == len(types)
    known = re.findall(r'^	\{ "([a-z.]+)",', (ROOT / "api" / "event.c").read_text(), re.MULTILINE)
    of_the_server = {"run.lost", "run.adopted"}
    assert sorted(known) == sorted(t for t in types if not t.startswith("job.") and t not in of_the_server)


def test_the_check_notices_what_is_wrong():
    """The test of the tests: each of these must be refused."""
    job_id = CONTRACT.raw["components"]["schemas"]["JobId"]["examples"][0]
    event = {"object": "job.event", "id": job_id.replace("job", "evt"), "seq": 1, "job_id": job_id, "run_id": None, "attempt": 1,
             "trial_id": None, "created_at": "2026-11-24T03:43:53.123Z", "type": "run.phase", "level": "info", "message": "",
             "superseded": False,
             "data": {"phase": "training"}}
    CONTRACT.check_named("Event", event, "as it should be")
    for change in ({"type": "no.such"}, {"data": {}}, {"data": {"phase": "x", "more": 1}}, {"more": 1}, {"created_at": "2026-11-24"},
                   {"seq": 0}, {"level": "loud"}, {"id": "x"}):
        with pytest.raises(AssertionError):
            CONTRACT.check_named("Event", {**event, **change}, str(change))
