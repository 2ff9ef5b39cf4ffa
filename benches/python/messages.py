"""Messages through CPython's `Pipe`: objects with `send`, or bytes with `send_bytes`."""

import time
from multiprocessing import Pipe, Process

from common import FIRST, LAST, PROCESSORS, Check, Skip, message, pin, serve, time_each


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
    ours, theirs = Pipe()
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
    ours, theirs = Pipe()
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


def measure(what, question, mode, number, budget):
    if question in ("roundtrip", "roundtrip-pipe", "roundtrip-socket"):
        return roundtrip(what, mode, number, budget)
    if question == "stream":
        return stream(what, mode, number, budget)
    raise Skip("does not answer this question")


if __name__ == "__main__":
    serve(measure)
