"""How numbers are printed: one function a kind, all with a dash for what is missing."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from reports.inputs import number

DASH = "–"
MINUS = "−"
THIN = "\u202f"  # narrow space that does not break
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
LONGEST_WORD = 14  # characters after which a break is allowed inside a name


def plain(value: object, digits: int = 3, *, signed: bool = False) -> str:
    """A fixed number of decimals, with a true minus."""
    found = number(value)
    if found is None:
        return DASH
    text = f"{found:+.{digits}f}" if signed else f"{found:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def significant(value: object, digits: int = 3) -> str:
    """So many significant digits, in powers of ten where the number is very large or small."""
    found = number(value)
    if found is None:
        return DASH
    if found != 0 and not 1e-3 <= abs(found) < 1e5:
        return power_of_ten(found, digits - 1)
    return f"{found:.{digits}g}".replace("-", MINUS)


def power_of_ten(value: object, digits: int = 1) -> str:
    """Like 3.2 × 10¹², for FLOPs and other counts that span decades."""
    found = number(value)
    if found is None:
        return DASH
    if found == 0:
        return "0"
    mantissa, exponent = f"{found:.{digits}e}".split("e")
    raised = "10" + str(int(exponent)).translate(SUPERSCRIPTS)
    return f"{mantissa.replace('-', MINUS)}{THIN}×{THIN}{raised}"


def count(value: object) -> str:
    """Three digits with k, M, G or T."""
    found = number(value)
    if found is None:
        return DASH
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(found) >= limit * 0.9995:
            scaled = found / limit
            digits = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
            return f"{scaled:.{digits}f}{THIN}{suffix}"
    return f"{found:.0f}" if found == round(found) else f"{found:.3g}"


def whole(value: object) -> str:
    """A whole number with thin spaces between thousands."""
    found = number(value)
    return DASH if found is None else f"{found:,.0f}".replace(",", THIN).replace("-", MINUS)


def percent(value: object, digits: int = 1, *, signed: bool = False) -> str:
    """A percentage that is already in percent."""
    found = plain(value, digits, signed=signed)
    return found if found == DASH else f"{found}{THIN}%"


def share(value: object, digits: int = 1) -> str:
    """A fraction of one as a percentage."""
    found = number(value)
    return DASH if found is None else percent(100 * found, digits)


def ratio(value: object) -> str:
    """Like 31×; one decimal below 10."""
    found = number(value)
    if found is None:
        return DASH
    return f"{found:.1f}×" if found < 9.95 else f"{whole(found)}×"


def seconds(value: object) -> str:
    """Like 4.2 s, 3 min 12 s or 2 h 05 min."""
    found = number(value)
    if found is None:
        return DASH
    if abs(found) < 59.95:
        return f"{found:.1f}{THIN}s".replace("-", MINUS)
    sign = MINUS if found < 0 else ""
    minutes, rest = divmod(round(abs(found)), 60)
    if minutes < 60:
        return f"{sign}{minutes}{THIN}min {rest:02d}{THIN}s"
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}{THIN}h {minutes:02d}{THIN}min"


def interval(lo: object, hi: object, digits: int = 3) -> str:
    """Like 2.85 – 2.98."""
    if number(lo) is None or number(hi) is None:
        return DASH
    return f"{plain(lo, digits)}{THIN}–{THIN}{plain(hi, digits)}"


def moment(value: object) -> datetime | None:
    """A time out of an ISO text or seconds since 1970; naive texts are taken as UTC."""
    if isinstance(value, datetime):
        found = value
    elif isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            return None
    else:
        since = number(value)
        if since is None or not 0 <= since < 1e11:
            return None
        found = datetime.fromtimestamp(since, UTC)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def clock(value: object) -> str:
    """Like 2026-11-22 15:03:11 UTC; a text that is no time is given back as it is."""
    found = moment(value)
    if found is not None:
        return f"{found:%Y-%m-%d %H:%M:%S} UTC"
    return clean(value) if value not in (None, "") else DASH


def clean(value: object, longest: int = 400) -> str:
    """Text without control characters, shortened in the middle where it is too long."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return DASH
    text = "".join(" " if not letter.isprintable() else letter for letter in str(value))
    if len(text) <= longest:
        return text
    kept = longest - 1
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def breakable(value: object, longest: int = 400) -> str:
    """Clean text that may break inside long words, so that no cell overflows."""
    text = clean(value, longest)
    text = re.sub(r"(?<=[^\W\d][_/\\.=:@+-])(?=[^\W\d])", "\u200b", text)
    return re.sub(rf"(\S{{{LONGEST_WORD}}})(?=\S)", "\\1\u200b", text)


def soften(value: object) -> object:
    """The same data with breaks allowed inside very long words, so that no line runs out."""
    if isinstance(value, dict):
        return {key: soften(item) for key, item in value.items()}
    if isinstance(value, list):
        return [soften(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"([^\s\u200b]{24})(?=[^\s\u200b])", "\\1\u200b", value)
    return value


def target_label(name: str) -> str:
    """Like n 7B, tokens 140B for n_active=7B, tokens=140B."""
    return clean(name.replace("n_active=", "n ").replace("=", " "), 24)


def joined(words: list[str], last: str = "and") -> str:
    """Like a, b and c."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def plural(many: int, noun: str, nouns: str | None = None) -> str:
    """Like 1 run or 3 runs."""
    return f"{whole(many)} {noun if many == 1 else nouns or noun + 's'}"
