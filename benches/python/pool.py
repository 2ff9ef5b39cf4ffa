"""CPython's `Pool` and `ProcessPoolExecutor`, each used in its own best way."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

from common import Check, Skip, apart, message, rate_each, serve, time_each

MEGABYTES = 32


def square(x):
    return x * x


def upper(text):
    return text.upper()


def through(bytes_):
    check = through.check = getattr(through, "check", None) or Check(len(bytes_))
    number = check.number(bytes_)
    return (number + 1).to_bytes(8, "little") + bytes_[8:]


def busy(task):
    microseconds, rounds = task
    state = 1
    for _ in range(rounds):
        state = (state * 6364136223846793005 + 1) & 0xFFFFFFFFFFFFFFFF
    return microseconds


class Pool:
    """`multiprocessing.Pool` by the verbs that are measured."""

    def __init__(self, workers, method="fork"):
        self.pool = multiprocessing.get_context(method).Pool(workers)
        self.apply = self.pool.apply
        self.imap = self.pool.imap
        self.imap_unordered = self.pool.imap_unordered

    def map(self, function, items, chunksize=None):
        return self.pool.map(function, items, chunksize)

    def apply_all(self, function, count):
        later = [self.pool.apply_async(function, (x,)) for x in range(count)]
        return [result.get() for result in later]

    def down(self):
        self.pool.terminate()
        self.pool.join()


class Executor:
    """The same of `ProcessPoolExecutor`; it has one lazy map."""

    def __init__(self, workers):
        self.workers = workers
        self.executor = ProcessPoolExecutor(workers)

    def apply(self, function, arguments):
        return self.executor.submit(function, *arguments).result()

    def map(self, function, items, chunksize=None):
        chunksize = chunksize or max(1, len(items) // (4 * self.workers))
        return list(self.executor.map(function, items, chunksize=chunksize))

    def imap(self, function, items):
        return self.executor.map(function, items)

    imap_unordered = imap

    def apply_all(self, function, count):
        later = [self.executor.submit(function, x) for x in range(count)]
        return [result.result() for result in later]

    def down(self):
        self.executor.shutdown()


class Loky(Executor):
    """`loky`'s executor, which is the standard one with care for its workers."""

    def __init__(self, workers):
        try:
            from loky import ProcessPoolExecutor as LokyExecutor
        except ImportError as error:
            raise Skip(str(error)) from error
        self.workers = workers
        self.executor = LokyExecutor(workers)


class Mpire:
    """`mpire`'s pool, kept alive between maps."""

    def __init__(self, workers):
        try:
            from mpire import WorkerPool
        except ImportError as error:
            raise Skip(str(error)) from error
        self.pool = WorkerPool(workers, keep_alive=True)
        self.apply = self.pool.apply

    def map(self, function, items, chunksize=None):
        return self.pool.map(function, whole(items), chunk_size=chunksize)

    def imap(self, function, items):
        return self.pool.imap(function, items, chunk_size=1)

    def imap_unordered(self, function, items):
        return self.pool.imap_unordered(function, whole(items), chunk_size=1)

    def apply_all(self, function, count):
        later = [self.pool.apply_async(function, (x,)) for x in range(count)]
        return [result.get() for result in later]

    def down(self):
        self.pool.terminate()


def whole(items):
    """Items that `mpire` does not take apart into arguments, as it does tuples."""
    return [(item,) for item in items] if isinstance(items, list) and isinstance(items[0], tuple) else items


def right(values, count):
    if len(values) != count or values[count - 1] != square(count - 1):
        raise RuntimeError("wrong squares")
    return count


def measure(what, question, mode, number, budget):
    def new(workers):
        others = {"executor": Executor, "loky": Loky, "mpire": Mpire}
        if what in others:
            return others[what](workers)
        return Pool(workers, "spawn" if what == "spawn" else "fork")

    if question.startswith("up"):
        def up(turn):
            pool = new(number)
            if pool.apply(square, (turn,)) != square(turn):
                raise RuntimeError("a wrong square")
            pool.down()

        return time_each(mode, budget, up)

    def started():
        pool = new(2)
        # The executor starts its workers with the first tasks, and those of `mpire` that have
        # served one verb cannot serve another by the same function.
        warm = pool.imap_unordered if question == "imap-unordered" else pool.map
        list(warm(square, range(1000)))
        return pool

    pool = apart(mode, started)
    try:
        return with_pool(pool, question, mode, number, budget)
    finally:
        pool.down()


def with_pool(pool, question, mode, number, budget):
    if question == "apply":
        def apply(turn):
            if pool.apply(square, (turn,)) != square(turn):
                raise RuntimeError("a wrong square")

        return time_each(mode, budget, apply)
    batches = {
        "map": lambda: right(pool.map(square, range(number)), number),
        "chunk1": lambda: right(pool.map(square, range(number), 1), number),
        "chunk1-text": lambda: texts(pool, number),
        "imap": lambda: right(list(pool.imap(square, range(number))), number),
        "apply-async": lambda: right(pool.apply_all(square, number), number),
        "imap-unordered": lambda: right(sorted(pool.imap_unordered(square, range(number))), number),
        "megabyte": lambda: megabytes(pool, number),
        "tasks": lambda: tasks(pool, number),
        "skewed": lambda: skewed(pool, number),
    }
    if question not in batches:
        raise Skip("does not answer this question")
    return rate_each(budget, batches[question])


def texts(pool, count):
    items = [f"{number} is the number" for number in range(count)]
    values = pool.map(upper, items, 1)
    if sum(map(len, values)) != sum(map(len, items)):
        raise RuntimeError("wrong texts")
    return count


def megabytes(pool, size):
    original, check = bytes(message(size)), Check(size)
    items = (number.to_bytes(8, "little") + original[8:] for number in range(MEGABYTES))
    for number, value in enumerate(pool.imap(through, items)):
        if check.number(value) != number + 1:
            raise RuntimeError("another megabyte came")
    return MEGABYTES


def rounds_per_microsecond():
    best = 1.0
    for _ in range(5):
        start = time.perf_counter()
        busy((0, 100_000))
        best = min(best, time.perf_counter() - start)
    return 100_000 / (best * 1e6)


def tasks(pool, microseconds):
    count = min(max(200_000 // microseconds, 40), 20_000)
    tasks.rounds = getattr(tasks, "rounds", None) or rounds_per_microsecond()
    task = (microseconds, max(1, round(tasks.rounds * microseconds)))
    if microseconds >= 1_000:
        sum(pool.imap_unordered(busy, [task] * count))
    else:
        pool.map(busy, [task] * count)
    return count


def skewed(pool, count):
    tasks.rounds = getattr(tasks, "rounds", None) or rounds_per_microsecond()
    quick, slow = ((times * 50, max(1, round(tasks.rounds * times * 50))) for times in (1, 20))
    first = count - count // 8
    pool.map(busy, [quick] * first + [slow] * (count - first))
    return count


if __name__ == "__main__":
    serve(measure)
