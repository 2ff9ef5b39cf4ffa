"""CPython's `SyncManager` and `BaseManager`, over a Unix socket or TCP."""

import multiprocessing
import resource
import time
from multiprocessing.connection import Client
from multiprocessing.managers import BaseManager, SyncManager, dispatch

from common import Skip, apart, rate_each, serve, time_each

SECRET = b"bench"
MOST = 64
WARM = 128


class Counter:
    """A user's object."""

    def __init__(self, start=0):
        self.count = start

    def increment(self, by):
        self.count += by
        return self.count


class Manager(SyncManager):
    """With the user's object."""


Manager.register("Counter", Counter)


def address(what):
    return ("127.0.0.1", 0) if what == "tcp" else None


def started(what):
    manager = Manager(address=address(what), authkey=SECRET)
    manager.start()
    return manager


def many_descriptors():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def verb(question):
    if question == "get":
        return lambda dict_, turn: dict_["the key"]
    return lambda dict_, turn: dict_.__setitem__("the key", turn)


def one_client(what, question, mode, budget):
    def make():
        manager = started(what)
        if question == "method":
            return manager, manager.Counter(0)
        dict_ = manager.dict()
        dict_["the key"] = 0
        return manager, dict_

    manager, proxy = apart(mode, make)
    if question == "method":
        counted = 0

        def operation(_turn):
            nonlocal counted
            counted += 1
            if proxy.increment(1) != counted:
                raise RuntimeError("another count")

    else:
        call = verb(question)

        def operation(turn):
            call(proxy, turn)

    result = time_each(mode, budget, operation)
    manager.shutdown()
    return result


class Connected:
    """One more client in this process, as a proxy is one in a thread of its own."""

    def __init__(self, manager, token):
        self.connection = Client(manager.address, authkey=SECRET)
        dispatch(self.connection, None, "accept_connection", ("client",))
        self.id = token.id

    def __getitem__(self, key):
        return dispatch(self.connection, self.id, "__getitem__", (key,))

    def __setitem__(self, key, value):
        return dispatch(self.connection, self.id, "__setitem__", (key, value))


def be_clients(manager_address, dict_, share, question, start, results, budget):
    many_descriptors()
    if share == 1:
        clients = [dict_]
    else:
        manager = BaseManager(manager_address, SECRET)
        clients = [Connected(manager, dict_._token) for _ in range(share)]
    call = verb(question)
    for turn in range(-(-WARM // share)):
        for client in clients:
            call(client, turn)
    start.wait()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < budget:
        for client in clients:
            call(client, count)
            count += 1
    results.put((count, time.perf_counter() - begin))


def crowd(what, question, clients, budget):
    many_descriptors()
    manager = started(what)
    dict_ = manager.dict()
    dict_["the key"] = 0
    count = min(clients, MOST)
    shares = [(clients + index) // count for index in range(count)]
    start, results = multiprocessing.Barrier(count), multiprocessing.SimpleQueue()
    processes = []
    for share in shares:
        arguments = (manager.address, dict_, share, question, start, results, budget)
        processes.append(multiprocessing.Process(target=be_clients, args=arguments))
    for process in processes:
        process.start()
    turns = [results.get() for _ in processes]
    for process in processes:
        process.join()
    manager.shutdown()
    return {"value": sum(count / spent for count, spent in turns)}


def pipelined(what, count, budget):
    """There is no such thing: one call comes after the other."""
    manager = started(what)
    counter = manager.Counter(0)

    def batch():
        for _ in range(count):
            counter.increment(1)
        return count

    result = rate_each(budget, batch)
    manager.shutdown()
    return result


def create(what, mode, budget):
    manager = started(what)

    def operation(_turn):
        manager.Counter(0)

    result = time_each(mode, budget, operation)
    manager.shutdown()
    return result


def connect(what, mode, budget):
    """A connection by `connect`, which makes a call."""
    manager = started(what)

    def operation(_turn):
        BaseManager(manager.address, SECRET).connect()

    result = time_each(mode, budget, operation)
    manager.shutdown()
    return result


def start(what, mode, budget):
    def operation(_turn):
        manager = started(what)
        manager.dict()[1] = 1
        manager.shutdown()

    return time_each(mode, budget, operation)


def status(process, name):
    with open(f"/proc/{process}/status") as lines:
        for line in lines:
            if line.startswith(name):
                return int(line.split()[1])
    raise RuntimeError("no such number")


def idle(what, question, clients):
    many_descriptors()
    manager = started(what)
    server = manager._process.pid
    dict_ = manager.dict()
    dict_["the key"] = 0
    before = status(server, "VmRSS:")
    connected = [Connected(manager, dict_._token) for _ in range(clients)]
    for client in connected:
        client["the key"]
    if question == "idle":
        value = max((status(server, "VmRSS:") - before) * 1024 / clients, 1)
    else:
        value = status(server, "Threads:")
    connected.clear()
    manager.shutdown()
    return {"value": value}


def measure(what, question, mode, number, budget):
    if question in ("get", "set") and mode == "free":
        return crowd(what, question, number, budget)
    if question == "get-by-socket":  # ours is always a plain one
        question = "get"
    if question in ("get", "set", "method"):
        return one_client(what, question, mode, budget)
    if question == "pipelined":
        return pipelined(what, number, budget)
    if question == "create":
        return create(what, mode, budget)
    if question == "connect":
        return connect(what, mode, budget)
    if question == "start":
        return start(what, mode, budget)
    if question in ("idle", "threads"):
        return idle(what, question, number)
    raise Skip("does not answer this question")


if __name__ == "__main__":
    serve(measure)
