"""The part of `asyncio` that the firmware uses, for a MicroPython that has none.

Time is virtual: `step` runs the task that is due first, at its time. So an hour passes at once,
and a script can measure the heap between any two steps. `run` raises Started: from then on the
script calls `step`. A task takes as much memory as on a chip. The code of this module is machine
code or frozen on a chip, so it is loaded before the measurement begins.
"""

import builtins

now = 0
tasks = []
current = None


class Started(BaseException):
    """`run` was called; the script runs the loop."""


class CancelledError(BaseException):
    """The task was cancelled."""


class TimeoutError(Exception):
    """The timeout passed."""


class Task:
    """A task; the coroutine is None once it has ended.

    due: virtual milliseconds, -1 while the task waits for another one. value: its result or
    exception, once it has ended. waiter: the task that waits for its end.
    """

    def __init__(self, coroutine):
        self.coroutine = coroutine
        self.due = now
        self.value = None
        self.waiter = None

    def cancel(self):
        """End the task, if it has not ended."""
        if self.coroutine:
            self.waiter = None
            step(CancelledError(), self)


def create_task(coroutine):
    """Create a task and return it."""
    task = Task(coroutine)
    tasks.append(task)
    return task


def run(coroutine):
    """Create the first task and leave the loop to the script. Raises Started."""
    create_task(coroutine)
    raise Started


def step(error=None, task=None):
    """Run the task that is due first until it waits again; advance the time to it.

    error: an exception to raise in `task` instead.
    """
    global now, current
    for other in () if task else tasks:
        if other.due >= 0 and (not task or other.due < task.due):
            task = other
    now = max(now, task.due)
    task.due = -1
    tasks.remove(task)
    tasks.append(task)  # of two tasks that are due, the other one is next
    before = current
    current = task
    try:
        if error:
            task.coroutine.throw(error)
        else:
            task.coroutine.send(None)
        return
    except StopIteration as e:
        task.value = e.value
    except BaseException as e:
        task.value = e
    finally:
        current = before
    task.coroutine = None
    tasks.remove(task)
    if task.waiter:
        task.waiter.due = now
    elif isinstance(task.value, Exception):
        raise task.value


def sleep_ms(ms):
    """Sleep for `ms` virtual milliseconds."""
    current.due = now + max(0, ms)
    yield


def sleep(seconds):
    """Sleep for so many virtual seconds."""
    return sleep_ms(int(seconds * 1000))


async def wait_for(task, timeout):
    """Return the task's result; raise TimeoutError after `timeout` seconds."""
    task.waiter = current
    await sleep(timeout)
    if task.coroutine:
        task.cancel()
        raise builtins.TimeoutError
    if isinstance(task.value, BaseException):
        raise task.value
    return task.value


class Event:
    """An event, for a single waiting task."""

    def __init__(self):
        self._state = False
        self._waiting = None

    def is_set(self):
        """Return whether the event is set."""
        return self._state

    def set(self):
        """Set the event and wake up the waiting task."""
        self._state = True
        if self._waiting:
            self._waiting.due = now
            self._waiting = None

    def clear(self):
        """Clear the event."""
        self._state = False

    def wait(self):
        """Wait until the event is set."""
        while not self._state:
            self._waiting = current
            yield
        self._waiting = None


class ThreadSafeFlag(Event):
    """An event that interrupts may set."""

    def wait(self):
        """Wait until the event is set, and clear it."""
        yield from super().wait()
        self._state = False


class StreamReader:
    """A stream over a socket."""

    def __init__(self, s):
        self.s = s
        self.out_buf = b""

    def readinto(self, buf):
        """Read the bytes that have arrived."""
        yield core._io_queue.queue_read(self.s)
        return self.s.readinto(buf)

    def write(self, buf):
        """Buffer bytes for sending."""
        self.out_buf += buf

    def drain(self):
        """Send the buffered bytes."""
        yield core._io_queue.queue_write(self.s)
        self.s.write(self.out_buf)
        self.out_buf = b""


class core:
    """The queue of tasks that wait for sockets: the peer needs a millisecond."""

    class _io_queue:
        def queue_read(_):
            """Continue in a millisecond."""
            current.due = now + 1

        queue_write = queue_read
