"""redis-py, as it is, against the demo: `.ci/run demo` starts it.

What a program does with a store: strings, numbers, expiry, a pipeline, a transaction that watches,
and going on when its node is gone. The arguments are the ports: the front door's first.
"""

import sys
import redis

ports = [int(port) for port in sys.argv[1:]]
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
print(f"redis-py {redis.__version__}: all as expected")
