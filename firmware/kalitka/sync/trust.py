"""Whom the reader believes its time.

The server over TLS proves its time and is believed; if it goes back by more than an hour, after a
second answer. Nothing else can prove anything. Promises: between two proofs all others together
move the clock by an hour at most; only a clock that was never proved is moved further, by three
answers in a row, at least a minute apart, that agree. No time without proof lies before the
table's minute or the last proof. The clock chip is written only with a time that was proved, or
that three answers agreed on. Every step of more than two seconds is reported with its size.

Loaded when there is a time to judge; `keeper` is the TimeKeeper of `sync.timekeeper`.
"""

from kalitka import unload
from micropython import const

_MOVES = const(3600)  # the most seconds by which answers without proof move the clock
_CHIP_MOVES = const(60)  # the same of a chip at a time: its battery may be failing
_AGREE = const(10)  # seconds by which two answers that agree may differ
_ENOUGH = const(3)  # answers that agree
_APART = const(60)  # seconds between them
_SOON = const(300)  # seconds to the next question
_DAY = const(86400)
_CHIP = const("the clock chip")
_STEP_UNREPORTED = const(2)  # seconds; a smaller step is not reported
# Do not rename: readers in the field have this key in NVS. The minute of the last proof.
_PROOF = const("time")
_PROOF_MAX = const(8)  # bytes
_PROOF_OLD = const(60)  # minutes


def ask_chip(keeper) -> None:
    """Set the clock by the clock chip, if the chip knows the time."""
    seconds = keeper.chip.read()
    if seconds >= 0:
        try:
            check(keeper, seconds, False)
            decide(keeper, seconds, _CHIP, False)
        except ValueError as e:
            keeper.fail(_CHIP, e)


def check(keeper, seconds: int, secure) -> None:
    """Raise ValueError if `seconds` (since 1970 UTC) cannot be true.

    secure: whether it is proved; then only the build bounds it.
    """
    keeper.clock.check(seconds)
    if secure:
        return
    # A bound that an answer without proof could raise would make one lie last for ever. So the
    # reader's own clock counts, as it stands in the newest entries of its log, once it was proved.
    if seconds // 60 < keeper.table.minute:
        raise ValueError("its time lies before the table's minute")
    if keeper.least < 0:
        from kalitka.system import nvs

        keeper.least = int(nvs.load(_PROOF, _PROOF_MAX) or b"0")
        unload("system.nvs")
    if seconds // 60 < keeper.least:
        raise ValueError("its time lies before a time that was proved")


def decide(keeper, seconds: int, source: str, secure) -> None:
    """Set the clock by a time that passed `check`; plan the next question to its source.

    Raises ValueError if it is not believed, or not yet.
    """
    clock = keeper.clock
    now = clock.uptime()
    if source != _CHIP:
        if abs(seconds - now - keeper.offset) > _AGREE:
            keeper.agreed = 0
        if secure or not keeper.agreed or now >= keeper.last + _APART:
            keeper.agreed += 1
            keeper.offset = seconds - now
            keeper.last = now
    enough = source != _CHIP and keeper.agreed >= _ENOUGH and not keeper.proved
    # A server without an answer that counts is asked again at the next poll.
    keeper.due[source] = now if secure else now + _SOON
    step = clock.step_to(seconds) if clock.is_set else 0
    moved = keeper.moved + step
    if secure:
        moved = 0
        if step < -_MOVES and keeper.agreed < 2:
            raise ValueError("its time is %d s back: not taken yet" % -step)
        keeper.proved = True
    elif abs(moved) > _MOVES or (source == _CHIP and abs(step) > _CHIP_MOVES):
        if not enough:
            raise ValueError("its time is %d s off the clock's: not taken" % step)
        moved = 0
    keeper.moved = moved
    clock.set_utc(seconds)
    if source != keeper.source or abs(step) > _STEP_UNREPORTED:
        words = _step_text(step) if secure else _step_text(step) + ", provisional"
        keeper.report("clock: set by %s%s" % (source, words))
    keeper.succeed(source)
    if keeper.proved or enough:
        keeper.due[source] = now + _DAY
    if keeper.chip and (secure or enough):
        _write(keeper, seconds)


def save(keeper) -> None:
    """Keep the time of a clock that was proved for `check` after a power cut."""
    # An hour less: for what may have moved the clock since, and to spare the flash.
    least = -keeper.clock.step_to(0) // 60 - _PROOF_OLD
    if abs(least - keeper.least) >= _PROOF_OLD:
        from kalitka.system import nvs

        keeper.least = least
        nvs.save(_PROOF, b"%d" % least, _PROOF_MAX)
        unload("system.nvs")


def _write(keeper, seconds):
    chip = keeper.chip
    was = chip.read()
    if abs(was - seconds) > _STEP_UNREPORTED and chip.write(seconds) and was >= 0:
        keeper.report("clock: the clock chip was corrected%s" % _step_text(seconds - was))


def _step_text(step):
    if not step:
        return ""
    return ", %d s %s" % (abs(step), "forward" if step > 0 else "back")
