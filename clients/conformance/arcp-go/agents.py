"""The agents that the examples of ARCP's Go library name, by what their servers do."""

import time

from lines import Job, Refused


def chatty(job):
    for _ in range(200):
        job.log("event")
    job.result({"emitted": 200})


def researcher(job):
    for n in range(3):
        call_id = f"c{n}"
        try:
            job.authorize("tool.call", "search.web")
        except Refused as refused:
            job.event("tool_result", call_id=call_id, error=refused.error)
            return job.result({"status": "budget exhausted"})
        job.event("tool_call", tool="search.web", args={"q": "topic"}, call_id=call_id)
        job.event("tool_result", call_id=call_id, result={"hits": 3})
        job.event("metric", name="cost.search", value=0.42, unit="USD")
    job.result({"status": "done"})


def ping(job):
    job.result({"pong": "ok"})


def idle(job):
    time.sleep(2)
    job.result({"status": "ok"})


def long(job):
    time.sleep(60)
    job.result()


def echo(job):
    job.result({"echo": job.input})


def slow_job(job):
    while True:
        job.authorize("fs.read", "/data/file")
        time.sleep(0.2)


def rogue(job):
    job.event("tool_call", tool="fs.write", args={"path": "/etc/passwd"}, call_id="c1")
    try:
        job.authorize("fs.write", "/etc/passwd")
        job.event("tool_result", call_id="c1", result={"wrote": "yes"})
        job.result({"status": "ok"})
    except Refused as refused:
        job.event("tool_result", call_id="c1", error=refused.error)
        job.result({"status": "denied"})


def code_refactor(job):
    job.result({"version": job.version})


def indexer(job):
    for n in range(1, 11):
        job.event("progress", current=n, total=10, units="files", message="indexed")
        time.sleep(0.04)
    job.result({"indexed": 10})


def chat(job):
    job.authorize("model.use", "tier-fast/gpt-4o-mini")
    job.event("metric", name="cost.model", value=0.25, unit="USD")
    job.result({"model": "tier-fast/gpt-4o-mini"})


def report(job):
    for n in range(5):
        job.chunk("x" * 1024 + "\n", more=n < 4)
    job.result()


def counter(job):
    for n in range(1, job.input.get("n", 5) + 1):
        job.log(f"counted {n}")
        time.sleep(0.05)
    job.result({"counted": n})


def ticker(job):
    for _ in range(5):
        job.log("tick")
        time.sleep(0.5)
    job.result({"ticks": 5})


def vendor(job):
    job.event("metric", name="x-vendor.acme.shards", value=42, unit="count", dimensions={"tier": "warm"})
    job.result({"ok": True})


job = Job()
try:
    globals()[job.agent.replace("-", "_")](job)
except Refused as refused:
    job.fail(refused.error)
