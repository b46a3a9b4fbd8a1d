"""Begins real things on a server, and prints their ids as JSON, so that generated requests find them.

Usage: seed.py, with FUZZ_URL and FUZZ_KEY in the environment
"""

import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

URL = os.environ["FUZZ_URL"]
KEY = os.environ["FUZZ_KEY"]
PAYLOADS = Path(__file__).resolve().parents[2] / "payloads"
PATIENCE_SECONDS = 30

ASKING_BY_LINK = {
    "name": "Ask by link",
    "nodes": [
        {
            "id": "link",
            "type": "transformer",
            "config": {"transform_type": "template", "template": "{{links.decision}}"},
        },
        {"id": "decision", "type": "wait", "config": {"message": "Well?", "choices": ["approved", "rejected"]}},
    ],
    "edges": [{"source": "link", "target": "decision"}],
}
TRIGGERED = {
    "name": "Take orders",
    "status": "active",
    "nodes": [{"id": "end", "type": "end", "config": {"output": "{{input.body}}"}}],
    "triggers": [
        {"id": "nightly", "type": "schedule", "cron": "0 3 * * *", "timezone": "Europe/Berlin", "missed": "skip"},
        {"id": "orders", "type": "webhook", "path": "orders/new", "methods": ["GET", "POST"]},
        {"id": "result", "type": "webhook", "path": "orders/result", "reply": "result", "methods": ["GET", "POST"]},
    ],
}
FAILING = {
    "workflow_id": "failing",
    "STEPS_CONFIG": [
        {
            "step_name": "ask",
            "usid": "ask",
            "service_url": "/echo?status=404",
            "method": "GET",
            "outputs": ["answer"],
        }
    ],
}
WEATHER = {
    "id": "weather-1",
    "title": "Get weather",
    "content": {
        "type": "api_config",
        "data": {
            "service_url": "/echo?only=json",
            "method": "POST",
            "body_template": {"city": "{{original_input}}", "degrees": 21},
        },
    },
    "labels": {"workflow:report:1": ""},
}


def call(method, path, body=None):
    """The answer to a request that has to succeed."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"x-api-key": KEY, "content-type": "application/json"}
    request = urllib.request.Request(URL + path, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as reply:
            return json.loads(reply.read() or "null")
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from None


def payload(name):
    return json.loads((PAYLOADS / name).read_text(encoding="utf-8"))


def create(workflow):
    return call("POST", "/api/v1/workflows", workflow)["id"]


def execute(workflow, data=None, wait=False):
    """The id of a new job; with `wait`, of one that has ended."""
    query = "?wait=true" if wait else ""
    return call("POST", f"/api/v1/workflows/{workflow}/execute{query}", {"input_data": data or {}})["id"]


def eventually(ask):
    """What `ask` gives, once it gives something."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(0.02)
    raise TimeoutError(f"nothing within {PATIENCE_SECONDS} seconds")


def ticket(workflow):
    """The secret part of the link by which a new job asks for a decision."""
    job = execute(workflow)

    def link():
        nodes = call("GET", f"/api/v1/jobs/{job}")["node_results"]
        waits = nodes.get("decision", {}).get("status") == "waiting"
        return nodes["link"]["output"].rsplit("/", 1)[1] if waits else None

    return eventually(link)


def seed_workflows():
    """Jobs in each status: completed, failed, waiting and cancelled, and one that began others."""
    branch = create(payload("workflow-branch.json"))
    call("PATCH", f"/api/v1/workflows/{branch}", {"description": "Changed"})
    waits = create(payload("workflow-wait.json"))
    cancelled = execute(waits, {"amount": 7})
    call("POST", f"/api/v1/jobs/{cancelled}/cancel")
    lines = [{"name": "tea", "count": 2, "price": 3}, {"name": "jam", "count": "x", "price": []}]
    foreach = execute(create(payload("workflow-foreach.json")), {"lines": lines}, wait=True)
    jobs = [
        execute(branch, {"order": 7, "weight": 30}, wait=True),
        execute(branch, {"order": 7}, wait=True),
        execute(waits, {"amount": 7}),
        cancelled,
        foreach,
    ]
    return {"workflow": branch, "waiting_workflow": waits, "jobs": jobs, "parent": foreach}


def seed_triggers():
    workflow = create(TRIGGERED)
    call("POST", "/hooks/orders/new", {"id": 5})
    return {"triggered_workflow": workflow, "asking_workflow": create(ASKING_BY_LINK)}


def seed_pipelines():
    """Pipelines of steps and of blocks, one with progress and one that fails."""
    tells_progress = {"notifications": {"webhook_url": "/api/workflows/webhook/simple-echo"}}
    pipelines = [
        payload("simple-echo.json"),
        {**payload("simple-echo.json"), "PIPELINE_SETTINGS": tells_progress},
        FAILING,
    ]
    runs = [call("POST", "/execute", pipeline)["execution_id"] for pipeline in pipelines]
    call("POST", "/execute", payload("selection.json"))
    call("POST", "/namespaces/demo/blocks", WEATHER)
    call("POST", "/namespaces/demo/blocks", {"id": "plain", "title": "A note"})
    asked = {"userInput": "Oslo", "blockIds": ["weather-1"]}
    call("POST", "/namespaces/demo/workflows/report/execute", asked)
    return {"runs": runs}


def seed_chains():
    """An instruction chain that completes, and one that fails for want of a key of its provider."""
    failing = {"context": "x", "provider": "openai", "instructions": ["Summarize", "Translate"]}
    chains = [payload("instruction-chain.json"), failing]
    return {"instances": [call("POST", "/", chain)["instanceId"] for chain in chains]}


def main():
    call("PUT", "/secrets/A_SECRET", {"value": "hidden"})
    print(json.dumps({**seed_workflows(), **seed_triggers(), **seed_pipelines(), **seed_chains()}))


if __name__ == "__main__":
    main()
