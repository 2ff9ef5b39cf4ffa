"""Start and join of a CPython `Process` that does nothing, by each start method; and how
soon its end is known."""

import multiprocessing
import time
from multiprocessing.connection import wait

from common import of_times, serve, time_each


def nothing():
    pass


def end(context, budget):
    """From the kill of a process to the knowledge of its end."""
    times, until = [], time.perf_counter() + budget
    while time.perf_counter() < until or len(times) < 5:
        process = context.Process(target=time.sleep, args=(1000,))
        process.start()
        time.sleep(0.002)
        start = time.perf_counter()
        process.kill()
        wait([process.sentinel])
        times.append((time.perf_counter() - start) * 1e6)
        process.join()
    return of_times(times)


def measure(what, question, mode, number, budget):
    context = multiprocessing.get_context(what)
    if question == "end":
        return end(context, budget)
    ballast = b"1" * (1 << 30 if question == "process-large" else 0)

    def operation(_turn):
        process = context.Process(target=nothing)
        process.start()
        process.join()
        if process.exitcode != 0:
            raise RuntimeError("the process failed")

    result = time_each(mode, budget, operation)
    del ballast
    return result


if __name__ == "__main__":
    serve(measure)
