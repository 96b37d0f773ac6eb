"""redis-py, as it is, against the demo, one node alone and three processes: `.ci/run` starts them.

What a program does with a store: strings, numbers, expiry, a pipeline, a transaction that watches,
walks over keys, messages, questions about the server, and going on when its node is gone. The arguments are the ports, behind the word `alone` if there is but one node; the demo's front door is the first.
"""

import resource
import socket
import sys
import time
import redis

alone = sys.argv[1] == "alone"
ports = [int(port) for port in sys.argv[1 + alone :]]
nodes = [redis.Redis(port=port, decode_responses=True) for port in ports]
door, node = nodes[0], nodes[-1]

assert all(one.ping() for one in nodes)
assert door.set("word", "a") and node.get("word") == "a"
assert node.set("word", "b", nx=True) is None and node.set("word", "b", get=True) == "a"
assert door.mset({"one": 1, "two": 2}) and node.mget("one", "two", "three") == ["1", "2", None]
assert node.incrby("one", 41) == 42 and node.incrbyfloat("two", 0.5) == 2.5
assert door.append("word", "c") == 2 and node.getrange("word", 0, -1) == "bc"
assert node.set("brief", "x", px=60_000) and 0 < door.pttl("brief") <= 60_000
assert door.persist("brief") and node.ttl("brief") == -1 and node.ttl("never") == -2
assert node.delete("brief") == 1 and door.exists("brief") == 0

pipe = door.pipeline(transaction=False)
for number in range(100):
    pipe.set(f"key-{number}", number)
assert pipe.execute() == [True] * 100
assert node.mget([f"key-{number}" for number in range(100)]) == [str(n) for n in range(100)]

# A transaction takes back nothing, and does nothing when what it watched has changed meanwhile.
with door.pipeline() as pipe:
    pipe.watch("one")
    assert pipe.get("one") == "42"
    node.incr("one")
    pipe.multi()
    pipe.set("one", "lost")
    try:
        pipe.execute()
        raise AssertionError("a write got lost")
    except redis.WatchError:
        assert node.get("one") == "43"
assert door.pipeline().incr("one").get("one").execute() == [44, "44"]

try:
    node.execute_command("NOSUCH", "thing")
    raise AssertionError("an unknown command was known")
except redis.ResponseError as why:
    assert "unknown command" in str(why), why
try:
    node.incr("word")
    raise AssertionError("a word was a number")
except redis.ResponseError as why:
    assert "not an integer" in str(why), why
# Walks over all keys; what is there throughout is met, whatever comes and goes.
assert node.dbsize() >= 100 and door.randomkey() is not None
walk = node.scan_iter(match="key-*", count=7)
met = [next(walk)]
door.set("key-x", 1), door.delete("key-x")
met += list(walk)
assert len(met) == len(set(met)) and {f"key-{number}" for number in range(100)} <= set(met)
assert sorted(door.keys("key-9?")) == [f"key-{number}" for number in range(90, 100)]
assert list(door.scan_iter(_type="hash")) == []

# What is published at one node is heard at another one, by channel and by pattern.
hears = node.pubsub(ignore_subscribe_messages=True)
hears.subscribe("news")
hears.psubscribe("ne*")
while hears.get_message(timeout=0.2):
    pass
assert node.publish("news", "near") == 2
nodes[len(nodes) // 2].publish("news", "far")
heard = []
until = time.monotonic() + 20
while len(heard) < 4 and time.monotonic() < until:
    message = hears.get_message(timeout=1)
    heard += [(message["type"], message["data"])] if message else []
want = [(kind, text) for text in ("near", "far") for kind in ("message", "pmessage")]
assert sorted(heard) == sorted(want), heard
assert node.pubsub_numsub("news") == [("news", 1)] and node.pubsub_numpat() == 1
hears.close()

# What programs ask a server before they trust it, and while they run.
ask = node.execute_command
others = 0 if alone else 1
assert ask("WAIT", 0, 100) == others and ask("WAITAOF", 1, 0, 100) == [1, others]
assert "db0" in node.info("keyspace") and node.info()["redis_mode"] == "standalone"
node.client_setname("clients.py")
assert any(one["name"] == "clients.py" for one in node.client_list())
assert node.config_set("slowlog-max-len", 64) and node.config_get("slowlog-max-len")["slowlog-max-len"] == "64"
assert isinstance(node.slowlog_get(), list) and ask("LATENCY", "LATEST") == []
assert node.command_count() > 80
assert ask("CLUSTER", "KEYSLOT", "foo") == 12182

# Ten thousand at a time, as Redis has it. Half say nothing, the others half of something; whoever asks
# is served meanwhile, and who comes to the end of it, too.
files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
if alone and 12_000 <= files:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    idle = [socket.create_connection(("127.0.0.1", ports[0])) for _ in range(9_900)]
    begun = idle[::2]
    for one in begun:
        one.sendall(b"*2\r\n$3\r\nGET\r\n$5\r\nne")
    assert all(node.set("word", number) for number in range(100))
    assert node.info("clients")["connected_clients"] > 9_900
    for one in begun:
        one.sendall(b"ver\r\n")
    assert all(one.recv(16) == b"$-1\r\n" for one in begun)
    for one in idle:
        one.close()

assert door.flushall() and node.dbsize() == 0 and node.scan(0) == (0, [])
print(f"redis-py {redis.__version__}: all as expected")
