"""A process that trains one run after another: `python -m model.training.worker`.

In: one JSON object a line, {"spec": path, "data_folder": path, "run_folder": path, "ledger_head":
text or null}. Out: one JSON object a line, {"run_id", "run_folder", "event", "step", "steps",
"loss", "eta", "message"}, where event is "ready" (once, when everything is imported), "progress",
"done", "failed", "stopped" or "locked" (another process trains it). Importing torch takes seconds,
a tiny run not many more: hence one process for many runs. It ends at the end of its input, and,
with a checkpoint saved, on SIGTERM, SIGINT or SIGUSR2, or when nobody reads its output any more. It
hears these signals from its first line on: that is why torch comes only with `service`, below.

With `--rank R --size N --master HOST:PORT` it is one of N processes that train a single run. Only
rank 0 has a job in and messages out; the others follow it and end after it. What befalls one of
them once the run has begun ends its process with status 1 and no message, and so the others.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from model.training.interruption import Interruption, on_signals


def main(words: Sequence[str] | None = None) -> int:
    """Serve standard input, or follow."""
    interruption = Interruption()
    with on_signals(interruption):
        parser = argparse.ArgumentParser(prog="python -m model.training.worker")
        parser.add_argument("--rank", type=int, default=0)
        parser.add_argument("--size", type=int, default=1)
        parser.add_argument("--master", default="", help="HOST:PORT of rank 0")
        given = parser.parse_args(words)
        from model.training.service import Worker, serve_as_rank, warm_up

        warm_up()
        with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
            os.dup2(2, 1)  # whatever else prints must not stand between the messages
            if given.size > 1 and not interruption.stop:
                serve_as_rank(given.rank, given.size, given.master, out, interruption)
            try:
                return Worker(out, interruption).serve(sys.stdin)
            except KeyboardInterrupt:
                return 130


if __name__ == "__main__":
    sys.exit(main())
