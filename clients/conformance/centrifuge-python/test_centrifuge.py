"""PyPI's `centrifuge-python`, as it is, against a gateway: in both encodings."""

import json
import unittest
from urllib.parse import quote

from centrifuge import CentrifugeError, DeltaType, StreamPosition

from child import Line, seconds_from_now
from gateway import Gateway, Told, client_of, issuer_token, token

ENCODINGS = {"json": False, "protobuf": True}


def encoded(is_protobuf, value):
    return json.dumps(value).encode() if is_protobuf else value


def decoded(is_protobuf, data):
    return json.loads(data) if is_protobuf else data


class Conformance(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.gateway = Gateway()
        cls.addClassCleanup(cls.gateway.stop)

    def client(self, way=None, is_protobuf=False, **options):
        client, told = client_of(way or self.gateway, is_protobuf, **options)
        self.addAsyncCleanup(client.disconnect)
        return client, told

    async def connected(self, *arguments, **options):
        client, told = self.client(*arguments, **options)
        await client.connect()
        await told.count("connected", 1)
        return client, told

    async def subscribed(self, client, channel, **options):
        told = Told()
        subscription = client.new_subscription(channel, told, **options)
        await subscription.subscribe()
        await told.count("subscribed", 1)
        return subscription, told

    async def line(self):
        line = await Line.to(self.gateway)
        self.addCleanup(line.stop)
        return line

    async def test_tokens_of_either_kind_say_who_connects(self):
        for user, signed in ("ann", token(sub="ann")), ("bob", issuer_token(sub="bob")):
            client, told = await self.connected(token=signed)
            subscription, _ = await self.subscribed(client, "chat:who")
            clients = (await subscription.presence()).clients
            self.assertEqual(clients[told.of("connected")[0].client].user, user)
            await client.disconnect()

    async def test_a_token_that_is_not_good_ends_the_connection_for_good(self):
        client, told = self.client(token="x")
        await client.connect()
        self.assertEqual((await told.count("disconnected", 1))[0].code, 3500)

    async def test_tokens_are_replaced_before_they_end_and_the_connection_stays(self):
        for make in token, issuer_token:
            asked = Told()

            async def get_token():
                await asked.on_asked(None)
                return make(sub="ann", exp=seconds_from_now(4))

            client, told = await self.connected(token=await get_token(), get_token=get_token)
            # The second one that it asks for comes after the end of the first.
            await asked.count("asked", 4)
            await client.rpc("echo", {})
            self.assertEqual((len(told.of("connecting")), len(told.of("connected"))), (1, 1))

    async def test_a_subscription_token_lets_in_where_permissions_do_not(self):
        client, _ = await self.connected()
        with self.assertRaises(CentrifugeError):
            await client.publish("secret:plans", 1)
        asked = Told()

        async def get_token(channel):
            await asked.on_asked(None)
            return token(sub="ann", channel=channel, exp=seconds_from_now(3))

        _, told = await self.subscribed(client, "secret:plans", get_token=get_token)
        await asked.count("asked", 3)
        await self.gateway.publish("secret:plans", "we leave at dawn")
        self.assertEqual((await told.count("publication", 1))[0].pub.data, "we leave at dawn")
        self.assertEqual((len(told.of("subscribing")), told.of("unsubscribed")), (1, []))

    async def test_topics(self):
        for name, is_protobuf in ENCODINGS.items():
            with self.subTest(name):
                await self.topics(name, is_protobuf)

    async def topics(self, name, is_protobuf):
        client, told_client = await self.connected(is_protobuf=is_protobuf)
        other, told_other = await self.connected(is_protobuf=is_protobuf, token=token(sub="bob"))
        channel = f"chat:python-{name}"
        subscription, told = await self.subscribed(client, channel, join_leave=True)
        await self.subscribed(other, channel)
        for i in range(5):
            await subscription.publish(encoded(is_protobuf, {"i": i}))
        publications = [context.pub for context in await told.count("publication", 5)]
        self.assertEqual([decoded(is_protobuf, pub.data) for pub in publications], [{"i": i} for i in range(5)])
        self.assertEqual([pub.offset for pub in publications], [1, 2, 3, 4, 5])
        self.assertEqual({pub.info.user for pub in publications}, {"ann"})

        names = {told.of("connected")[0].client for told in (told_client, told_other)}
        self.assertEqual(set((await subscription.presence()).clients), names)
        stats = await subscription.presence_stats()
        self.assertEqual((stats.num_clients, stats.num_users), (2, 2))
        await other.disconnect()
        left = (await told.count("leave", 1))[0].info
        self.assertEqual((left.user, left.client), ("bob", told_other.of("connected")[0].client))
        self.assertIn("bob", [context.info.user for context in told.of("join")])

        history = await subscription.history(limit=100)
        self.assertEqual([decoded(is_protobuf, pub.data)["i"] for pub in history.publications], [0, 1, 2, 3, 4])
        later = await subscription.history(limit=2, since=StreamPosition(2, history.epoch))
        self.assertEqual([pub.offset for pub in later.publications], [3, 4])

        answer = await client.rpc("echo", encoded(is_protobuf, [1, "zwei"]))
        self.assertEqual(decoded(is_protobuf, answer.data), {"data": [1, "zwei"], "user": "ann"})
        with self.assertRaises(CentrifugeError):
            await client.rpc("nothing", encoded(is_protobuf, 1))

    async def test_recovery_after_a_killed_socket(self):
        for name, is_protobuf in ENCODINGS.items():
            for prefix, options in ("chat", {}), ("delta", {"delta": DeltaType.FOSSIL}):
                with self.subTest(f"{name} {prefix}"):
                    await self.recovery(is_protobuf, f"{prefix}:python-recovery-{name}", options)

    async def recovery(self, is_protobuf, channel, options):
        line = await self.line()
        client, _ = await self.connected(line, is_protobuf)
        _, told = await self.subscribed(client, channel, **options)
        for gap in range(4):
            line.is_down = True
            line.cut()
            await told.count("subscribing", 2 + gap)
            for i in range(10 * gap, 10 * gap + 7):
                await self.gateway.publish(channel, {"i": i, "text": "a sentence that stays the same, nearly"})
            line.is_down = False
            await told.count("subscribed", 2 + gap)
            for i in range(10 * gap + 7, 10 * gap + 10):
                await self.gateway.publish(channel, {"i": i, "text": "a sentence that stays the same, nearly"})
        numbers = range(40)
        publications = await told.count("publication", len(numbers))
        self.assertEqual([decoded(is_protobuf, context.pub.data)["i"] for context in publications], list(numbers))
        returns = (await told.count("subscribed", 5))[1:]
        self.assertEqual([(it.was_recovering, it.recovered) for it in returns], [(True, True)] * 4)

    async def test_a_history_that_is_too_short_is_told(self):
        line = await self.line()
        client, _ = await self.connected(line)
        _, told = await self.subscribed(client, "short:python")
        await self.gateway.publish("short:python", 1)
        await told.count("publication", 1)
        line.is_down = True
        line.cut()
        await told.count("subscribing", 2)
        for i in range(2, 6):
            await self.gateway.publish("short:python", i)
        line.is_down = False
        back = (await told.count("subscribed", 2))[1]
        self.assertEqual((back.was_recovering, back.recovered), (True, False))
        await self.gateway.publish("short:python", 6)
        self.assertEqual([context.pub.data for context in await told.count("publication", 2)], [1, 6])

    async def test_a_live_query_is_exact_after_a_killed_socket(self):
        query = {"entity": "asset", "sort": [{"column": "temp"}], "limit": 5}
        rows = [{"upsert": {"id": f"a-{n}", "name": "x", "temp": n}} for n in range(8)]
        await self.gateway.post("/v1/entities/asset/changes", {"changes": rows})
        line = await self.line()
        client, _ = await self.connected(line)
        subscription, told = await self.subscribed(client, "live:asset:python", data=query)
        line.is_down = True
        line.cut()
        await told.count("subscribing", 2)
        for n in range(4):
            change = {"upsert": {"id": f"a-{n}", "name": "y", "temp": 10 - n}}
            await self.gateway.post("/v1/entities/asset/changes", {"changes": [change]})
        line.is_down = False
        back = (await told.count("subscribed", 2))[1]
        self.assertEqual((back.was_recovering, back.recovered), (True, True))
        await told.count("publication", 4)
        entries = []
        for data in [told.of("subscribed")[0].data] + [context.pub.data for context in told.of("publication")]:
            for frame in data["deltas"]:
                apply(entries, frame)
        path = f"/v1/entities/asset?query={quote(json.dumps(query))}"
        rows = (await self.gateway.get(path))["rows"]
        self.assertEqual([entry["row"] for entry in entries], [row["row"] for row in rows])


def apply(entries, frame):
    """What a frame does to a list; see the delta protocol."""
    op, row = frame["op"], frame.get("row")
    if op == "reset":
        entries.clear()
    if op in ("leave", "move", "update"):
        was = entries.pop(frame["old_index"])
        row = row or was["row"]
    if op in ("enter", "move", "update"):
        entries.insert(frame["new_index"], {"key": frame["agg_id"], "row": row})


if __name__ == "__main__":
    unittest.main()
