"""An array of numpy's: through a `Pipe` as an object or as bytes, or in `shared_memory`."""

import time
from multiprocessing import Pipe, Process, shared_memory

from common import PROCESSORS, Skip, of_times, pin, serve

try:
    import numpy
except ImportError as error:
    numpy, REASON = None, str(error)


def array(size):
    return numpy.arange(size // 8, dtype=numpy.float64)


def check(items, number):
    if items[0] != number or not (items[1:] == array(items.nbytes)[1:]).all():
        raise RuntimeError("an array came torn")


def new_memory(items):
    memory = shared_memory.SharedMemory(create=True, size=items.nbytes)
    view(memory, items.nbytes)[:] = items
    return memory


def view(memory, size):
    return numpy.ndarray((size // 8,), dtype=numpy.float64, buffer=memory.buf)


def answer(what, question, connection, size, processor):
    pin(processor)
    kept, memory, number = numpy.empty(size // 8), None, 0
    while True:
        connection.send(True)
        if what == "ndarray":
            items = connection.recv()
        elif what == "bytes":
            connection.recv_bytes_into(kept)
            items = kept
        else:
            name = connection.recv()
            if name is None:
                return
            if memory is None or memory.name != name:
                memory = shared_memory.SharedMemory(name=name)
            items = view(memory, size)
        if items[0] < 0:
            return
        connection.send(True)
        check(items, number)
        # Nothing looks into the memory any more.
        items = None
        number += 1


def measure(what, question, mode, size, budget):
    if numpy is None:
        raise Skip(REASON)
    own, other = PROCESSORS[mode]
    ours, theirs = Pipe()
    peer = Process(target=answer, args=(what, question, theirs, size, other))
    peer.start()
    pin(own)
    items, clock = array(size), time.perf_counter
    memory = new_memory(items) if what == "shared" else None
    times, turn, end = [], 0, clock() + budget
    while turn < 7 or clock() < end:
        ours.recv()
        items[0] = turn
        if question == "array-handle":
            view(memory, size)[0] = turn
        start = clock()
        if what == "ndarray":
            ours.send(items)
        elif what == "bytes":
            ours.send_bytes(items)
        else:
            if question == "array-fresh":
                memory.close()
                memory.unlink()
                memory = new_memory(items)
            elif question == "array-recycled":
                view(memory, size)[:] = items
            ours.send(memory.name)
        ours.recv()
        if turn >= 2:
            times.append((clock() - start) * 1e6)
        turn += 1
    ours.recv()
    items[0] = -1
    if what == "shared":
        ours.send(None)
        memory.close()
        memory.unlink()
    elif what == "bytes":
        ours.send_bytes(items)
    else:
        ours.send(items)
    peer.join()
    return of_times(times)


if __name__ == "__main__":
    serve(measure)
