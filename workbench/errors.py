"""What a person is told when a command fails: one line of what and where, one of what to do.

Exit status 2 means that the arguments or the input are at fault (ValueError), 1 that the command
could not do its work (FitError, OSError and everything else).
"""

import errno
import re
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from workbench.remedies import remedy as remedy_of

BAD_INPUT = 2
FAILED = 1
INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended

# Which extra brings a package that the core does without.
EXTRA = {
    "torch": "train",
    "tokenizers": "train",
    "safetensors": "train",
    "submitit": "train",
    "botocore": "demo",
    "sympy": "demo",
    "sklearn": "demo",
    "googleapiclient": "study",
    "flash_attn": "gpu",
}


# Failures of other rooms that speak for themselves, by name: importing them would take torch.
NAMED = {"SweepBusy", "RunLocked", "RunInterrupted", "SubmissionFailed"}


class InputError(ValueError):
    """Bad arguments or input, together with what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


class Failure(RuntimeError):
    """A command could not do its work; `remedy` says what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """An error as it is printed."""

    kind: str  # the class of the error, or the name of a refusal
    what: str
    remedy: str
    status: int

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {"error": asdict(self)}


def explain(error: BaseException, command: str = "workbench") -> Explained:
    """The error in two lines; the remedy is the second line of its own message, or its last
    sentence, where it has one.
    """
    what, own_remedy = _two(str(error))
    kind, status, remedy = type(error).__name__, FAILED, ""
    if hasattr(error, "format_message"):  # the parser of the command line
        what, own_remedy = _two(str(error.format_message()).replace("Value error, ", ""))
        kind, status = "UsageError", BAD_INPUT
        remedy = _meant(what) or f"`{command} --help` shows what is accepted"
    elif _is_fit_error(error):
        kind = str(getattr(error, "name", None) or kind)
        remedy = remedy_of(kind)
    elif isinstance(error, ImportError):
        what, remedy = _explain_import(error)
    elif isinstance(error, OSError):
        what, remedy = _explain_system(error)
        what, own_remedy = _two(what)
    elif isinstance(error, KeyboardInterrupt):
        what, status = "interrupted", INTERRUPTED
        remedy = "what was finished is kept; the same command again goes on from there"
    elif type(error).__name__ == "LedgerError":
        remedy = "leave the ledger as it is and compare it with a copy (a commit, a backup)"
    elif isinstance(error, ValueError):
        status = BAD_INPUT
        remedy = f"correct this and run it again; `{command} --help` shows what is accepted"
    elif type(error).__name__ in NAMED:
        pass  # its own second line says what to do
    elif not isinstance(error, Failure):
        what = f"unexpected {kind}: {what}" if what else f"unexpected {kind}"
        remedy = "this is a defect of the workbench; --debug shows where it happened"
    remedy = getattr(error, "remedy", None) or " ".join(own_remedy.split()) or remedy
    return Explained(kind=kind, what=what, remedy=remedy, status=status)


def _meant(what: str) -> str:
    """What a value that "is not one of" others was probably meant to be; empty where unclear."""
    value, words, others = what.partition(" is not one of ")
    names = re.findall(r"'([^']+)'", others)
    close = get_close_matches(value.rpartition(" ")[2].strip("'"), names, n=1) if words else []
    return f"did you mean {close[0]}?" if close else ""


def _two(message: str) -> tuple[str, str]:
    """What happened, and what to do: errors have one sentence for each, or a line for each."""
    what, _, remedy = message.strip().partition("\n")
    if not remedy:
        first, stop, last = what.rpartition(". ")
        if stop and last[:1].isupper():
            return first, last[0].lower() + last[1:]
    return what, remedy


def _is_fit_error(error: BaseException) -> bool:
    """By name: importing `fits` only to tell a typing mistake would take half a second."""
    return any(kind.__name__ == "FitError" for kind in type(error).__mro__)


def _explain_import(error: ImportError) -> tuple[str, str]:
    package = (error.name or "").split(".")[0]
    if package in EXTRA:
        what = f"this command needs {package}, which is not installed"
        return what, f"pip install 'scaling-workbench[{EXTRA[package]}]'"
    return str(error), "install the workbench again; --debug shows where it happened"


def _explain_system(error: OSError) -> tuple[str, str]:
    where = f"{error.filename}: " if error.filename else ""
    text = error.strerror or str(error)
    what = f"{where}{text[:1].lower()}{text[1:]}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return what, "free some space; the same command again goes on, nothing finished is lost"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return what, "choose a place that you may write to, or change its permissions"
    if error.errno == errno.ENOENT:
        return what, "check the path"
    return what, "run the same command again; --debug shows where it happened"
