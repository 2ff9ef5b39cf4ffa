"""What CPython's workers have in memory, and what many of them do."""

from common import Skip, rate_each, serve
from pool import Executor, Pool, right, square

MANY = 5_000


def idle_worker(pool, workers):
    """The memory that a worker has for itself, in the middle of all."""
    pool.map(square, range(1000))
    private = sorted(private_memory(worker.pid) for worker in pool.pool._pool)
    return {"value": private[workers // 2]}


def private_memory(process):
    with open(f"/proc/{process}/smaps_rollup") as lines:
        return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def measure(what, question, mode, number, budget):
    pool = Executor(number) if what == "executor" else Pool(number, what)
    try:
        if question.startswith("idle-worker"):
            return idle_worker(pool, number)
        if question == "by-workers":
            pool.map(square, range(1000))
            return rate_each(budget, lambda: right(pool.map(square, range(MANY), 1), MANY))
    finally:
        pool.down()
    raise Skip("does not answer this question")


if __name__ == "__main__":
    serve(measure)
