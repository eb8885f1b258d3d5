"""The agents that the examples of ARCP's TypeScript library name, by what their READMEs say of them."""

import time

from lines import Job, Refused


def chatty(job):
    count = job.input.get("count", 2000)
    for value in range(1, count + 1):
        job.event("metric", name="tick", value=value, unit="count")
    job.result({"emitted": count})


def slow_walk(job):
    steps = job.input.get("steps", 60)
    job.event("status", phase="walking")
    for value in range(1, steps + 1):
        job.event("metric", name="step", value=value, unit="count")
        time.sleep(job.input.get("tickMs", 100) / 1000)
    job.result({"steps": steps})


def web_research(job):
    """Calls a tool until the budget is gone."""
    calls = job.input.get("iterations", 8)
    for n in range(1, calls + 1):
        call_id = f"call_{n}"
        job.event("tool_call", tool="search.web", args={"query": f"topic {n}"}, call_id=call_id)
        try:
            job.authorize("tool.call", "search.web")
        except Refused as refused:
            job.event("tool_result", call_id=call_id, error=refused.error)
            return job.fail(refused.error)
        job.event("metric", name="cost.search", value=job.input.get("perCallUSD", 0.3), unit="USD")
        job.event("tool_result", call_id=call_id, result={"hits": 10})
    job.result({"iterations": calls})


def long_indexer(job):
    """Reads files until the lease ends."""
    ticks = job.input.get("ticks", 20)
    for n in range(1, ticks + 1):
        target = f"/workspace/index/part-{n}.txt"
        job.event("tool_call", tool="fs.read", args={"path": target}, call_id=f"call_{n}")
        try:
            job.authorize("fs.read", target)
        except Refused as refused:
            job.event("tool_result", call_id=f"call_{n}", error=refused.error)
            return job.fail(refused.error)
        job.event("tool_result", call_id=f"call_{n}", result={"bytes": 1024 * n})
        time.sleep(job.input.get("tickMs", 1000) / 1000)
    job.result({"ticks": ticks})


def code_refactor(job):
    """Two examples name it: one asks for versions, one reads a file that the lease covers and one that it does not."""
    for n, path in enumerate(["/workspace/myapp/src/auth/handler.ts", "/etc/passwd"] if job.lease else [], 1):
        job.event("tool_call", tool="fs.read", args={"path": path}, call_id=f"c{n}")
        try:
            job.authorize("fs.read", path)
            job.event("tool_result", call_id=f"c{n}", result={"path": path, "bytes": 1024})
        except Refused as refused:
            job.event("tool_result", call_id=f"c{n}", error=refused.error)
            job.log(f"Skipping unauthorized read: {path}", "warn")
    version = f"v{job.version[0]}"
    job.result({"handler": version, "result": f"{version} result", "input": job.input})


def build(job):
    project = job.input["project"]
    job.event("status", phase="compiling")
    job.log(f"building {project}")
    job.event("status", phase="delegating tests")
    root = f"/workspace/{project}"
    lease = {"fs.read": [f"{root}/**"], "fs.write": [f"{root}/test-output/**"]}
    job.delegate("del_tests", "test", {"suite": "all"}, lease)
    job.event("status", phase="compiled")
    # A part that is not waited for is stopped with the whole.
    job.wait_for_parts(1)
    job.result({"project": project, "delegated_tests": True})


def test(job):
    job.log(f"running {job.input['suite']} suite")
    job.log("127/127 passed")
    job.result({"passed": 127, "failed": 0})


def parent(job):
    item = job.input["item"]
    job.event("status", phase="calling tool")
    job.event("tool_call", tool="catalog.lookup", args={"item": item}, call_id="call_lookup")
    job.event("tool_result", call_id="call_lookup", result={"price_usd": 42})
    job.event("status", phase="delegating child")
    job.delegate("del_child", "child", {"item": item, "price_usd": 42})
    job.wait_for_parts(1)
    job.result({"item": item, "ok": True})


def child(job):
    job.log(f"child processing {job.input}")
    job.result({"received": job.input})


def weekly_report(job):
    job.result({"week": job.input.get("week", "?"), "emailed": True})


def different_agent(job):
    job.result({"unused": True})


def slow_task(job):
    label = job.input.get("label", "task")
    job.event("status", phase="running", message=f"{label} in progress")
    time.sleep(job.input.get("durationMs", 30_000) / 1000)
    job.result({"label": label, "done": True})


def indexer(job):
    total = job.input.get("total", 100)
    job.event("status", phase="indexing")
    for n in range(1, total + 1):
        job.event("progress", current=n, total=total, units="files", message=f"file-{n}.ts")
        time.sleep(job.input.get("tickMs", 40) / 1000)
    job.result({"indexed": total})


def ask_model(job):
    job.result({"modelLease": job.lease.get("model.use", [])})


def report_builder(job):
    total = job.input.get("chunks", 30)
    for n in range(1, total):
        job.chunk(f"Section {n}: " + "lorem ipsum dolor sit amet " * 8 + "\n", more=True)
    job.chunk(f"Section {total}: final paragraph.\n", more=False)
    job.result(summary=f"report with {total} chunks")


def counter(job):
    steps = job.input.get("steps", 8)
    for value in range(1, steps + 1):
        job.event("metric", name="step", value=value, unit="count")
    job.result({"steps": steps})


def data_analyzer(job):
    job.event("status", phase="fetching")
    job.log("12,408 rows loaded", dataset=job.input.get("dataset"))
    job.event("thought", text="Outlier in column 'revenue' row 4421")
    job.event("metric", name="rows", value=12_408, unit="row")
    job.event("tool_call", tool="stats.summarize", args={"column": "revenue"}, call_id="c1")
    job.event("tool_result", call_id="c1", result={"mean": 348.12, "p95": 1102.4})
    job.event("artifact_ref", uri="arcp://artifacts/report.html", content_type="text/html", byte_size=38_291)
    job.result({"outliers": 3, "total_usd": 42_000})


def timer(job):
    ticks = job.input.get("ticks", 4)
    job.event("status", phase="running")
    for n in range(1, ticks + 1):
        job.log(f"tick {n}/{ticks}")
        time.sleep(job.input.get("tickMs", 250) / 1000)
    job.event("artifact_ref", uri="memory://timer/result", content_type="application/json")
    job.result({"ticks": ticks})


def render_job(job):
    frames = job.input.get("frames", 4)
    job.event("status", phase="rendering")
    for n in range(1, frames + 1):
        job.log(f"rendered frame {n}/{frames}")
        job.event("x-vendor.acme.progress", percent=round(100 * n / frames), eta_seconds=frames - n)
        time.sleep(0.04)
    job.result({"frames": frames, "format": "mp4"})


def echo(job):
    job.event("status", phase="echoing")
    job.log("echoing")
    job.result({"echoed": job.input})


job = Job()
globals()[job.agent.replace("-", "_")](job)
