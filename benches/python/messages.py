"""Messages through CPython's `Pipe`: objects with `send`, or bytes with `send_bytes`; and through
its `Queue`."""

import time
from multiprocessing import Pipe, Process, Queue

from common import FIRST, LAST, PROCESSORS, Check, Skip, message, pin, serve, time_each


class QueueEnd:
    """A side of two queues, as a connection."""

    def __init__(self, there, back):
        self.there, self.back = there, back

    def send(self, item):
        self.there.put(item)

    def recv(self):
        return self.back.get()


def ends(what):
    if what != "queue":
        return Pipe()
    # With a bound: what its thread has not sent yet must not grow.
    there, back = Queue(256), Queue(256)
    return QueueEnd(there, back), QueueEnd(back, there)


def verbs(what, connection):
    if what == "bytes":
        return connection.send_bytes, connection.recv_bytes
    send = connection.send
    return lambda bytes_: send(bytes(bytes_)), connection.recv


def answer(what, connection, size, processor):
    pin(processor)
    send, recv = verbs(what, connection)
    check = Check(size)
    while True:
        received = recv()
        if check.number(received) == LAST:
            return
        send(received)


def roundtrip(what, mode, size, budget):
    own, other = PROCESSORS[mode]
    ours, theirs = ends(what)
    peer = Process(target=answer, args=(what, theirs, size, other))
    peer.start()
    pin(own)
    send, recv = verbs(what, ours)
    check, bytes_ = Check(size), message(size)

    def operation(turn):
        bytes_[:8] = (FIRST + turn).to_bytes(8, "little")
        send(bytes_)
        if check.number(recv()) != FIRST + turn:
            raise RuntimeError("another message came")

    result = time_each(mode, budget, operation)
    bytes_[:8] = LAST.to_bytes(8, "little")
    send(bytes_)
    peer.join()
    return result


def take(what, connection, size, processor):
    pin(processor)
    _, recv = verbs(what, connection)
    check, expected = Check(size), FIRST
    while True:
        number = check.number(recv())
        if number == LAST:
            return connection.send(True)
        if number != expected:
            raise RuntimeError("a message is missing")
        expected += 1


def stream(what, mode, size, budget):
    own, other = PROCESSORS[mode]
    ours, theirs = ends(what)
    peer = Process(target=take, args=(what, theirs, size, other))
    peer.start()
    pin(own)
    send, _ = verbs(what, ours)
    bytes_, sent = message(size), 0
    begin, unwatched = time.perf_counter(), 64 if size < 1 << 20 else 1
    while sent % unwatched or time.perf_counter() - begin < budget:
        bytes_[:8] = (FIRST + sent).to_bytes(8, "little")
        send(bytes_)
        sent += 1
    bytes_[:8] = LAST.to_bytes(8, "little")
    send(bytes_)
    ours.recv()
    result = {"value": sent / (time.perf_counter() - begin)}
    peer.join()
    return result


def wait(connection, results):
    connection.recv()
    before = time.thread_time()
    connection.recv()
    results.send(time.thread_time() - before)


def idle_wait(budget):
    """The processor's time that a long wait uses, in microseconds for each second."""
    ours, theirs = Pipe()
    results, result = Pipe()
    peer = Process(target=wait, args=(theirs, result))
    peer.start()
    ours.send(1)
    begin = time.perf_counter()
    time.sleep(max(budget, 0.5))
    ours.send(2)
    used = results.recv()
    peer.join()
    return {"value": max(used * 1e6 / (time.perf_counter() - begin), 1.0)}


def measure(what, question, mode, number, budget):
    if question in ("roundtrip", "roundtrip-pipe", "roundtrip-socket"):
        return roundtrip(what, mode, number, budget)
    if question == "stream":
        return stream(what, mode, number, budget)
    if question == "idle-wait":
        return idle_wait(budget)
    raise Skip("does not answer this question")


if __name__ == "__main__":
    serve(measure)
