"""How a contestant is asked and answers; see benches/src/contest.rs."""

import json
import os
import resource
import sys
import time

PROCESSORS = {"hot": (0, 1), "asleep": (0, 1), "one-core": (0, 0), "free": (None, None)}
NAP = 250e-6
STEP = 64
FIRST = 1 << 56
LAST = (1 << 64) - 1


class Skip(Exception):
    """Why a question has no answer."""


def pin(processor):
    if processor is not None:
        os.sched_setaffinity(0, {processor})


def apart(mode, make):
    """As in benches/src/clock.rs: makes workers and keeps them and us where we belong."""
    own, other = PROCESSORS[mode]
    if own is None:
        return make()
    pin_all(os.getpid(), {own, other})
    workers = make()
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/children") as children:
            for child in children.read().split():
                pin_all(child, {other})
    pin_all(os.getpid(), {own})
    return workers


def pin_all(process, processors):
    for thread in os.listdir(f"/proc/{process}/task"):
        os.sched_setaffinity(int(thread), processors)


def message(size):
    """As in benches/src/payload.rs: one byte of each line follows from its place."""
    size = max(size, 8)
    lines = (size + STEP - 1) // STEP
    body = b"".join(bytes([line % 256]) * STEP for line in range(lines))[:size]
    return bytearray(FIRST.to_bytes(8, "little") + body[8:])


class Check:
    """Tells whether a message is whole."""

    def __init__(self, size):
        self.expected = bytes(message(size)[STEP::STEP])

    def number(self, received):
        if bytes(received[STEP::STEP]) != self.expected:
            raise RuntimeError("a message came torn")
        return int.from_bytes(received[:8], "little")


def percentile(ordered, share):
    return ordered[round((len(ordered) - 1) * share)]


def of_times(times):
    times.sort()
    answer = {"value": percentile(times, 0.5), "max": times[-1]}
    if len(times) >= 100:
        answer["p99"] = percentile(times, 0.99)
    if len(times) >= 1000:
        answer["p999"] = percentile(times, 0.999)
    return answer


def time_each(mode, budget, operation):
    """The times of a short operation as microseconds."""
    clock = time.perf_counter
    turn, warm = 0, clock() + budget / 8
    while clock() < warm or turn < 3:
        operation(turn)
        turn += 1
    times, end = [], clock() + budget
    while clock() < end or len(times) < 5:
        if mode == "asleep":
            until = clock() + NAP
            while clock() < until:
                pass
        start = clock()
        operation(turn)
        times.append((clock() - start) * 1e6)
        turn += 1
    return of_times(times)


def rate_each(budget, batch):
    """How many things of a batch there are for each second."""
    clock = time.perf_counter
    batch()
    rates, end = [], clock() + budget
    while clock() < end or not rates:
        start = clock()
        count = batch()
        rates.append(count / (clock() - start))
    rates.sort()
    return {"value": percentile(rates, 0.5)}


def cpu_time():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def serve(measure):
    """Answers until the input ends; `measure(what, question, mode, number, budget)`."""
    what, question, mode, number = sys.argv[1:5]
    for line in sys.stdin:
        budget = int(line.split()[1]) / 1000
        begin, cpu = time.perf_counter(), cpu_time()
        try:
            answer = measure(what, question, mode, int(number), budget)
        except Skip as reason:
            answer = {"skipped": str(reason)}
        answer["cpus"] = (cpu_time() - cpu) / (time.perf_counter() - begin)
        print(json.dumps(answer), flush=True)
