"""An agent that is a command: lines of JSON on its standard input and output."""

import json
import sys


class Refused(Exception):
    """It may not do that. `error` is what it was told."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.error = error


class Job:
    """The job that this process runs: its input, its lease, and all that can be said of it."""

    def __init__(self):
        self.calls, self.ended = 0, 0
        told = self.hear()
        self.agent, self.version = told["agent"], told["version"]
        self.input, self.lease = told["input"] or {}, told["lease"]

    def hear(self):
        line = sys.stdin.readline()
        told = json.loads(line) if line else {"type": "stop"}
        if told["type"] == "stop":
            sys.exit()
        self.ended += told["type"] == "child"
        return told

    def say(self, type, **fields):
        print(json.dumps({"type": type, **fields}), flush=True)

    def event(self, kind, **body):
        self.say("event", kind=kind, body=body)

    def log(self, message, level="info", **more):
        self.event("log", level=level, message=message, **more)

    def ask(self, type, **fields):
        """Asks for something and waits for the answer."""
        self.calls += 1
        self.say(type, call=self.calls, **fields)
        while (told := self.hear()).get("call") != self.calls:
            pass
        if told["type"] == "refuse":
            raise Refused(told["error"])
        return told

    def authorize(self, op, target):
        self.ask("authorize", op=op, target=target)

    def delegate(self, id, agent, input, lease=None):
        """Has another agent do a part; the name of its job."""
        return self.ask("delegate", delegate_id=id, agent=agent, input=input, lease_request=lease or {})["child_job_id"]

    def wait_for_parts(self, count):
        """Waits until so many of them have ended."""
        while self.ended < count:
            self.hear()

    def chunk(self, text, more):
        self.say("chunk", data=text, encoding="utf8", more=more)

    def result(self, value=None, summary=None):
        """The end. Whatever else is told until then does not matter any more."""
        self.say("result", result=value, **({"summary": summary} if summary else {}))

    def fail(self, error):
        self.say("error", code=error["code"], message=error["message"])
