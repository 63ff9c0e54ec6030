"""As much of `asyncio` as the firmware uses, for a MicroPython that has none.

Time is virtual: `step` runs the task that is due first, at its time. So an hour passes at once,
and a script can look at the heap between any two steps. `run` raises Started: the loop is then
the script's to turn. A task takes the memory that one of the chip's does; what is loaded here is
machine code or frozen there, so it is loaded before anything is measured.
"""

import builtins

_DUE = 1  # virtual milliseconds, -1 while it waits for another
_VALUE = 2  # what it returned or raised, once it ended
_WAITER = 3  # the task that is to be told of that

now = 0
tasks = []  # [coroutine, _DUE, _VALUE, _WAITER]; the coroutine is None once it ended
current = None


class Started(BaseException):
    """The loop was to run."""


class CancelledError(BaseException):
    """The task is to end."""


class TimeoutError(Exception):
    """It took too long."""


def create_task(coroutine):
    """Begin a task."""
    task = [coroutine, now, None, None]
    tasks.append(task)
    return task


def run(coroutine):
    """Begin the first task and give the loop to the script."""
    create_task(coroutine)
    raise Started


def step(error=None, task=None):
    """Run the task that is due first up to where it waits again; move the time on to it.

    error: is raised in `task` instead.
    """
    global now, current
    for other in () if task else tasks:
        if other[_DUE] >= 0 and (not task or other[_DUE] < task[_DUE]):
            task = other
    now = max(now, task[_DUE])
    task[_DUE] = -1
    tasks.remove(task)
    tasks.append(task)  # of two that are due the other is next
    before = current
    current = task
    try:
        if error:
            task[0].throw(error)
        else:
            task[0].send(None)
        return
    except StopIteration as e:
        task[_VALUE] = e.value
    except BaseException as e:
        task[_VALUE] = e
    finally:
        current = before
    task[0] = None
    tasks.remove(task)
    if task[_WAITER]:
        task[_WAITER][_DUE] = now
    elif isinstance(task[_VALUE], Exception):
        raise task[_VALUE]


def sleep_ms(ms):
    """Wait so many milliseconds."""
    current[_DUE] = now + max(0, ms)
    yield


def sleep(seconds):
    """Wait so many seconds."""
    return sleep_ms(int(seconds * 1000))


async def wait_for(awaitable, timeout):
    """Return what it gives, in so many seconds, or raise TimeoutError."""
    if timeout is None:
        return await awaitable
    task = create_task(awaitable)
    task[_WAITER] = current
    await sleep(timeout)
    if task[0]:
        task[_WAITER] = None
        step(CancelledError(), task)
        raise builtins.TimeoutError
    if isinstance(task[_VALUE], BaseException):
        raise task[_VALUE]
    return task[_VALUE]


class Event:
    """Something that happens."""

    def __init__(self):
        self._state = False
        self._waiting = None

    def is_set(self):
        """Tell whether it happened."""
        return self._state

    def set(self):
        """Say that it happens."""
        self._state = True
        if self._waiting:
            self._waiting[_DUE] = now
            self._waiting = None

    def clear(self):
        """Forget that it did."""
        self._state = False

    def wait(self):
        """Wait for it."""
        while not self._state:
            self._waiting = current
            yield
        self._waiting = None


class ThreadSafeFlag(Event):
    """The same, set by interrupts."""

    def wait(self):
        """Wait for it, and clear it."""
        yield from super().wait()
        self._state = False


class StreamReader:
    """A stream over a socket."""

    def __init__(self, s):
        self.s = s
        self.out_buf = b""

    def readinto(self, buf):
        """Read what has come."""
        yield core._io_queue.queue_read(self.s)
        return self.s.readinto(buf)

    def write(self, buf):
        """Take what is to be sent."""
        self.out_buf += buf

    def drain(self):
        """Send it."""
        yield core._io_queue.queue_write(self.s)
        self.s.write(self.out_buf)
        self.out_buf = b""


class core:
    """Where tasks wait for sockets: the other side needs a millisecond."""

    class _io_queue:
        def queue_read(_):
            """Go on in a millisecond."""
            current[_DUE] = now + 1

        queue_write = queue_read
