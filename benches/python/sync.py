"""CPython's locks, events, conditions, barriers and queues."""

import multiprocessing
import time
from multiprocessing.sharedctypes import RawValue

from common import PROCESSORS, Check, Skip, message, percentile, pin, serve, time_each


def uncontended(what, mode, budget):
    pin(PROCESSORS[mode][0])
    lock = getattr(multiprocessing, what.split()[-1])()
    turns = 2_000
    acquire, release = lock.acquire, lock.release

    def bare():
        for _ in range(turns):
            acquire()
            release()

    def with_():
        for _ in range(turns):
            with lock:
                pass

    return ns_per_turn(with_ if what.startswith("with ") else bare, turns, budget)


def event_alone(question, mode, budget):
    """Nobody waits."""
    pin(PROCESSORS[mode][0])
    event, turns = multiprocessing.Event(), 2_000
    is_set, set_, clear = event.is_set, event.set, event.clear

    def ask():
        for _ in range(turns):
            is_set()

    def change():
        for _ in range(turns):
            set_()
            clear()

    return ns_per_turn(ask if question == "is-set" else change, turns, budget)


def ns_per_turn(batch, turns, budget):
    times, end = [], time.perf_counter() + budget
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        batch()
        times.append((time.perf_counter() - start) * 1e9 / turns)
    times.sort()
    return {"value": percentile(times, 0.5)}


def count_up(lock, counter, start, results, budget):
    acquire, release = lock.acquire, lock.release
    start.wait()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < budget:
        for _ in range(256):
            acquire()
            counter.value += 1
            release()
        count += 256
    results.put((count, time.perf_counter() - begin))


def contended(what, parties, budget):
    lock, counter = getattr(multiprocessing, what)(), RawValue("Q", 0)
    start, results = multiprocessing.Barrier(parties), multiprocessing.SimpleQueue()
    arguments = (lock, counter, start, results, budget)
    processes = [multiprocessing.Process(target=count_up, args=arguments) for _ in range(parties)]
    for process in processes:
        process.start()
    turns = [results.get() for _ in processes]
    for process in processes:
        process.join()
    total = sum(count for count, _ in turns)
    if total != counter.value:
        raise RuntimeError("a count is lost")
    return {"value": sum(spent for _, spent in turns) / parties * 1e9 / total}


def answer_events(there, back, last, processor):
    pin(processor)
    while True:
        there.wait()
        there.clear()
        if last.is_set():
            return
        back.set()


def event(mode, budget):
    own, other = PROCESSORS[mode]
    there, back, last = (multiprocessing.Event() for _ in range(3))
    peer = multiprocessing.Process(target=answer_events, args=(there, back, last, other))
    peer.start()
    pin(own)

    def operation(_turn):
        there.set()
        back.wait()
        back.clear()

    result = time_each(mode, budget, operation)
    last.set()
    there.set()
    peer.join()
    return result


OVER = (1 << 64) - 1


def answer_turns(changed, turn, processor):
    pin(processor)
    with changed:
        while True:
            changed.wait_for(lambda: turn.value % 2 == 1)
            if turn.value == OVER:
                return
            turn.value += 1
            changed.notify()


def condition(mode, budget):
    own, other = PROCESSORS[mode]
    changed, turn = multiprocessing.Condition(), RawValue("Q", 0)
    peer = multiprocessing.Process(target=answer_turns, args=(changed, turn, other))
    peer.start()
    pin(own)

    def operation(_turn):
        with changed:
            turn.value += 1
            changed.notify()
            changed.wait_for(lambda: turn.value % 2 == 0)

    result = time_each(mode, budget, operation)
    with changed:
        turn.value = OVER
        changed.notify()
    peer.join()
    return result


def meet(barrier, last):
    """Leaves after the round that was said to be the last before it began."""
    rounds = 0
    while True:
        barrier.wait()
        rounds += 1
        if last.value == rounds:
            return


def barrier(mode, parties, budget):
    barrier_, last, rounds = multiprocessing.Barrier(parties), RawValue("Q", 0), 0
    others = [multiprocessing.Process(target=meet, args=(barrier_, last)) for _ in range(parties - 1)]
    for other in others:
        other.start()

    def operation(_turn):
        nonlocal rounds
        rounds += 1
        barrier_.wait()

    result = time_each(mode, budget, operation)
    last.value = rounds + 1
    barrier_.wait()
    for other in others:
        other.join()
    return result


def begin_with_all(start):
    """Lets all begin; the moment before that, as afterwards this process may have to wait."""
    while start.n_waiting + 1 < start.parties:
        time.sleep(0.0001)
    begin = time.perf_counter()
    start.wait()
    return begin


def put_words(queue, start, share):
    start.wait()
    for item in range(share):
        queue.put(item)


def get_words(queue, start, share, sums):
    start.wait()
    sums.put(sum(queue.get() for _ in range(share)))


def words(queue, pairs, budget):
    share = max(int(budget * 150_000) // pairs, 16)
    start, sums = multiprocessing.Barrier(2 * pairs + 1), multiprocessing.SimpleQueue()
    processes = []
    for _ in range(pairs):
        processes.append(multiprocessing.Process(target=put_words, args=(queue, start, share)))
        processes.append(multiprocessing.Process(target=get_words, args=(queue, start, share, sums)))
    for process in processes:
        process.start()
    begin = begin_with_all(start)
    total = sum(sums.get() for _ in range(pairs))
    spent = time.perf_counter() - begin
    for process in processes:
        process.join()
    if total != pairs * share * (share - 1) // 2:
        raise RuntimeError("an item is lost")
    return {"value": pairs * share / spent}


def get_bytes(queue, start, share, size):
    check = Check(size)
    start.wait()
    for number in range(share):
        if check.number(queue.get()) != number:
            raise RuntimeError("an item is missing")


def large(queue, size, budget):
    share = max(int(budget * 400_000_000 / size), 16)
    start = multiprocessing.Barrier(2)
    consumer = multiprocessing.Process(target=get_bytes, args=(queue, start, share, size))
    consumer.start()
    item = bytes(message(size))[8:]
    begin = begin_with_all(start)
    for number in range(share):
        queue.put(number.to_bytes(8, "little") + item)
    consumer.join()
    return {"value": share / (time.perf_counter() - begin)}


def measure(what, question, mode, number, budget):
    if question in ("lock", "rlock", "semaphore"):
        return uncontended(what, mode, budget)
    if question in ("contended", "contended-semaphore"):
        return contended(what, number, budget)
    if question in ("is-set", "set-clear"):
        return event_alone(question, mode, budget)
    if question == "event":
        return event(mode, budget)
    if question == "condition":
        return condition(mode, budget)
    if question == "barrier":
        return barrier(mode, number, budget)
    if question == "queue-many":
        return words(getattr(multiprocessing, what)(), number, budget)
    if question == "queue":
        queue = getattr(multiprocessing, what)()
        return words(queue, 1, budget) if number == 8 else large(queue, number, budget)
    raise Skip("does not answer this question")


if __name__ == "__main__":
    serve(measure)
