"""The agent `say`: says what its input has, one event after the other, and returns which version it is."""

from lines import Job

job = Job()
for kind, body in job.input["events"]:
    job.say("event", kind=kind, body=body)
job.result({"version": job.version, "lease": job.lease}, summary="said")
