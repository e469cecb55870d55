"""Numbers as people say them: counts, sizes, durations, paces, the time of day."""

import time


def count(number: int) -> str:
    """`843 M`, `5.54 B`: a number of parameters in three digits or so."""
    if number >= 10**9:
        return f"{number / 10**9:.2f} B"
    return f"{number / 10**6:.0f} M" if number >= 10**7 else f"{number / 10**6:.2f} M"


def size(held: int) -> str:
    """`312 B`, `4.0 MiB` or `1.3 GiB`: so many bytes."""
    for unit, each in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if held >= each:
            return f"{held / each:.1f} {unit}"
    return f"{held} B"


def percent(share: float, digits: int = 0) -> str:
    """A share of one in hundredths, such as "95 %"."""
    return f"{100 * share:.{digits}f} %"


def duration(seconds: float) -> str:
    """`48 s`, `12 min 5 s` or `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def pace(each_second: float) -> str:
    """`3.2/s`, `12/min` or `4.1/h`: in a unit that leaves something before the point."""
    for unit, seconds in (("s", 1), ("min", 60)):
        if each_second * seconds >= 1:
            return f"{_short(each_second * seconds)}/{unit}"
    return f"{_short(each_second * 3600)}/h"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def clock(seconds: float) -> str:
    """The time of day in so many seconds from now, here: `14:20`, `Wed 14:20`, `4 Dec 14:20`."""
    now = time.time()
    then = time.localtime(now + seconds)
    if then[:3] == time.localtime(now)[:3]:
        return time.strftime("%H:%M", then)
    day = "%a" if seconds < 6 * 86400 else f"{then.tm_mday} %b"
    return time.strftime(f"{day} %H:%M", then)
