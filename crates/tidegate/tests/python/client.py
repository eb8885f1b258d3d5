"""Live queries over Python's `websockets`: /v1/live/ws and /ws. Takes the gateway's address and an API key; fails by an exception."""

import asyncio
import json
import sys
import urllib.parse
import urllib.request

from websockets.asyncio.client import connect

ADDRESS = sys.argv[1]
QUERY = {"entity": "asset", "sort": [{"column": "n", "desc": True}], "limit": 5}


def http(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"x-api-key": sys.argv[2], "content-type": "application/json"}
    request = urllib.request.Request(f"http://{ADDRESS}{path}", data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def write(*changes):
    return http("/v1/entities/asset/changes", {"changes": changes})


def page(query):
    rows = http("/v1/entities/asset?query=" + urllib.parse.quote(json.dumps(query)))["rows"]
    return [row["row"] for row in rows]


def upsert(key, n):
    return {"upsert": {"id": key, "name": "né 🦀", "kind": "pump", "n": n}}


class List:
    def __init__(self):
        self.seq, self.rows, self.whole = 0, [], False

    def apply(self, frame, seq):
        assert seq == self.seq + 1, (seq, self.seq)
        self.seq = seq
        op, old, new = frame["op"], frame.get("old_index"), frame.get("new_index")
        if op == "reset":
            self.rows = []
        elif op in ("enter", "move", "leave", "update"):
            if op != "enter":
                assert self.rows.pop(old)["id"] == frame["agg_id"]
            if op != "leave":
                self.rows.insert(new, frame["row"])
        else:
            assert op == "ready", frame
        self.whole = op == "ready" or frame.get("last", False)


async def live():
    async with connect(f"ws://{ADDRESS}/v1/live/ws") as socket:
        await socket.send(json.dumps({"action": "subscribe", "query": QUERY}))
        rows = List()

        async def until(enough):
            async with asyncio.timeout(30):
                while not (rows.whole and enough()):
                    frame = json.loads(await socket.recv())
                    rows.apply(frame, frame["seq"])

        await until(lambda: rows.rows)
        assert rows.rows == page(QUERY)
        write(upsert("a00", 100), {"delete": {"id": "a19"}}, upsert("a17", 18.0))
        await until(lambda: rows.rows[0]["n"] == 100)
        assert rows.rows == page(QUERY) and rows.rows[0]["name"] == "né 🦀"
        before = rows.seq
        await socket.send(json.dumps({"action": "reanchor", "limit": 3}))
        await until(lambda: rows.seq > before and len(rows.rows) == 3)
        assert rows.rows == page(QUERY | {"limit": 3})
        await socket.ping()
        await socket.send(json.dumps({"action": "unsubscribe"}))
        await socket.wait_closed()
        assert socket.close_code == 1000, socket.close_code


async def events():
    async with connect(f"ws://{ADDRESS}/ws") as socket:
        lists = {"one": List(), "two": List()}
        queries = {"one": QUERY, "two": {"entity": "asset", "where": [{"column": "n", "op": "lt", "value": 3}]}}
        replies = {}
        for name, query in queries.items():
            data = {"sub": name, "query": query}
            await socket.send(json.dumps({"event": "live.subscribe", "data": data, "id": name}))

        async def until(enough):
            async with asyncio.timeout(30):
                while not (all(rows.whole for rows in lists.values()) and enough()):
                    message = json.loads(await socket.recv())
                    if message["event"] == "live.delta":
                        data = message["data"]
                        for index, frame in enumerate(data["deltas"]):
                            lists[data["sub"]].apply(frame, data["seq"] + index)
                    elif message["event"] == "reply":
                        assert "error" not in message, message
                        replies[message["id"]] = message["data"]

        await until(lambda: len(replies) == 2)
        assert all(rows.rows == page(queries[name]) for name, rows in lists.items())
        write(upsert("b", -1), upsert("c", 1000))
        await until(lambda: lists["one"].rows[0]["n"] == 1000 and any(row["n"] == -1 for row in lists["two"].rows))
        assert all(rows.rows == page(queries[name]) for name, rows in lists.items())


asyncio.run(live())
asyncio.run(events())
