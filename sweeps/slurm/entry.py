"""How every job begins: `python -m sweeps.slurm.entry MODULE WORDS…`, which is MODULE's main().

Signals are settled first, since the modules take seconds to import. Training jobs, which are
arrays, are told of them; of several ranks the first alone is, and its worker tells the others. Jobs
of the chain hear none: they are short, and done again where Slurm requeues them.
"""

from __future__ import annotations

import os
import sys

from sweeps.slurm.turns import attend, ignore


def main() -> int:
    """`MODULE WORDS…` on the command line; the exit status of the job."""
    module, *sys.argv[1:] = sys.argv[1:]

    def work() -> int:
        from importlib import import_module

        status: int = import_module(module).main()
        return status

    first = os.environ.get("SLURM_PROCID", "0") == "0"
    if first and "SLURM_ARRAY_TASK_ID" in os.environ:
        return attend(work)
    ignore()
    return work()


if __name__ == "__main__":
    sys.exit(main())
