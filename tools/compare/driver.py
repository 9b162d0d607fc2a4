"""What every Python driver shares: the flow of the load bench, a closed loop, one line of JSON.

The flow has four steps, each durable in the engine that runs it: what time is it, render a text,
write it to a file, hash the file. As in `lictor-bench load`, `concurrency` workers each start the
next workflow when their last one has ended, and every file is looked at afterwards."""

import argparse
import hashlib
import json
import os
import threading
import time


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", required=True)
    parser.add_argument("--total", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    return parser.parse_args()


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def render(n, when):
    return f"run {n} at {when}\n"


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return len(text)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def measure(engine, run, args):
    """`run(n, path)` runs one workflow to its end and gives the digest that its last step saw."""
    out = os.path.join(args.dir, "out")
    os.makedirs(out, exist_ok=True)
    numbers, lock, took, right = iter(range(args.total)), threading.Lock(), [], []

    def worker(warm):
        run(-1 - warm, os.path.join(out, f"warm-{warm}.txt"))
        ready.wait()
        while True:
            with lock:
                n = next(numbers, None)
            if n is None:
                return
            path = os.path.join(out, f"{n}.txt")
            begun = time.perf_counter()
            seen = run(n, path)
            took.append(time.perf_counter() - begun)
            right.append(seen == digest(path))

    ready = threading.Barrier(args.concurrency + 1)
    threads = [threading.Thread(target=worker, args=(n,)) for n in range(args.concurrency)]
    for thread in threads:
        thread.start()
    ready.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    took.sort()
    at = lambda share: 1000 * took[min(len(took) - 1, int(len(took) * share))]
    print(json.dumps({
        "engine": engine, "total": args.total, "concurrency": args.concurrency,
        "right": len(right) == args.total and all(right), "seconds": seconds,
        "per_second": args.total / seconds,
        "p50_ms": at(0.50), "p95_ms": at(0.95), "p99_ms": at(0.99),
    }), flush=True)
