"""Start and join of a CPython `Process` that does nothing, by each start method."""

import multiprocessing

from common import serve, time_each


def nothing():
    pass


def measure(what, question, mode, number, budget):
    context = multiprocessing.get_context(what)

    def operation(_turn):
        process = context.Process(target=nothing)
        process.start()
        process.join()
        if process.exitcode != 0:
            raise RuntimeError("the process failed")

    return time_each(mode, budget, operation)


if __name__ == "__main__":
    serve(measure)
