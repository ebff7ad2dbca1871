"""Code beyond the allow-list: contained where bubblewrap is, refused where it is not."""

import pytest

from model.evaluation import bubblewrap
from model.evaluation.sandbox import GradeItem, Limits, Verdict, grade_batch

needed = pytest.mark.skipif(
    not bubblewrap.available(), reason="bubblewrap is not installed or may not make namespaces"
)
PROMPT = 'def f(x):\n """mubo"""'
LIMITS = Limits(cpu_seconds=1, wall_seconds=20)
CHECK = "def check(g):\n assert g(1)==2"


def verdict(body: str, tests: object = ((1, 2),), limits: Limits = LIMITS) -> Verdict:
    items = [GradeItem(PROMPT, body, tests)]  # type: ignore[arg-type]
    return grade_batch(items, sandbox="bubblewrap", limits=limits)[0]


def test_all_is_refused_without_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "available", lambda: False)
    found = verdict("\n return x+1")
    assert not found.passed and "needs bubblewrap" in found.reason


@needed
@pytest.mark.parametrize("tests", [((1, 2), (3, 4)), CHECK])
def test_code_with_imports_passes_or_fails(tests: object) -> None:
    assert verdict("\n import math\n return math.floor(x)+1", tests) == Verdict(True)
    assert not verdict("\n import math\n return math.floor(x)", tests).passed


HOSTILE = {
    "loop": "\n while True: pass",
    "memory": "\n return [0]*10**9",
    "socket": "\n import socket\n socket.socket()\n return 2",
    "read": "\n open('/etc/passwd').read()\n return 2",
    "write": "\n with open('/tmp/a','w') as a: a.write('a')\n return 2",
    "write system": "\n import os\n os.mkdir('/usr/a')\n return 2",
    "system": "\n import os\n assert os.system('true')==0\n return 2",
    "fork bomb": "\n import os\n while True: os.fork()",
    "segfault": "\n import ctypes\n ctypes.string_at(0)\n return 2",
    "_exit": "\n import os\n os._exit(0)",
    "SystemExit": "\n raise SystemExit(0)",
    "forged": '\n import os\n for d in range(9):\n  try: os.write(d,b\'{"secret":"passed"}\')\n'
    "  except OSError: pass\n os._exit(0)",
    "flood": "\n import os\n while True:\n  for d in range(3,6):\n   try: os.write(d,b'a'*9999)\n"
    "   except OSError: pass",
    "processes": "\n import os\n assert os.path.exists('/proc/self')\n return 2",
}


@needed
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_samples_fail(name: str) -> None:
    assert not verdict(HOSTILE[name], CHECK).passed


@needed
def test_killing_its_parent_harms_nobody() -> None:
    kill = "\n import os\n for p in (os.getppid(),-1): os.kill(p,9)\n return x+1"
    items = [GradeItem(PROMPT, body, ((1, 2),)) for body in (kill, "\n return x+1")]
    assert grade_batch(items, sandbox="bubblewrap", limits=LIMITS)[1].passed


@needed
def test_sleeping_ends_at_the_last_resort() -> None:
    body = "\n import time\n time.sleep(60)"
    found = verdict(body, limits=Limits(cpu_seconds=1, wall_seconds=1))
    assert found.reason.startswith("last resort")


@needed
def test_endless_code_ends_by_processor_time() -> None:
    assert verdict(HOSTILE["loop"]).reason == "used up its processor time"
