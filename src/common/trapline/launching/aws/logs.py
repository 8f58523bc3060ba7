"""A job's log in CloudWatch, read as it grows: each line once, in order, whatever its streams are."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from trapline.launching.aws.errors import is_absent, suppressed
from trapline.launching.aws.jobs import paged
from trapline.metrics import LONGEST, START, read_line


@dataclass(frozen=True)
class LogLine:
    """A line: when it was written (seconds since 1970), and by which machine of the job.

    state: of a line that AWS itself says, the state that the job has entered; no machine wrote that.
    """

    moment: float
    text: str
    machine: str = ""
    state: str = ""


@dataclass
class LogStream:
    """One stream of a log group: one machine's output, of one attempt.

    tail: how many of the lines that are there come first; None: all.
    """

    client: Any
    group: str
    name: str
    tail: int | None = None
    more: bool = True  # whether asking again at once may bring more
    token: str | None = None
    last: int | None = None  # milliseconds of the newest event read, and how many of it were
    of_last: int = 0
    held: LogLine | None = None  # may be the first piece of a torn line
    held_before: bool = False

    @property
    def machine(self) -> str:
        """`algo-1` of JOB/algo-1-1700000000."""
        own = self.name.partition("/")[2]
        head, _, number = own.rpartition("-")
        return head if head and number.isdigit() and len(number) > 8 else own

    def page(self) -> list[LogLine]:
        """The next lines; none at the end. On an error nothing is lost: the same page comes again."""
        lines = [
            LogLine(event["timestamp"] / 1000, text.rstrip("\r"), self.machine)
            for event in self._events()
            for text in event["message"].rstrip("\n").split("\n")
        ]
        whole = [line for text in lines for line in self._joined(text)]
        if not lines and not self.more:
            # The second piece of a torn line comes with the next look, or there is none.
            whole += self.rest() if self.held_before else []
            self.held_before = self.held is not None
        return whole

    def rest(self) -> list[LogLine]:
        """What is held back; the log has ended."""
        held, self.held = self.held, None
        return [held] if held else []

    def _events(self) -> list[dict[str, Any]]:
        from botocore.exceptions import ClientError

        try:
            answer = self.client.get_log_events(**self._request())
        except ClientError as error:
            if is_absent(error):
                self.more = False
                return []
            if self.token is None or error.response["Error"]["Code"] != "InvalidParameterException":
                raise
            self.token = None  # tokens expire after a day, as while a laptop sleeps
            answer = self.client.get_log_events(**self._request())
        # Without a token they begin at the time of the newest that was read, if any.
        events: list[dict[str, Any]] = answer["events"][self.of_last if self.token is None else 0 :]
        unwanted = self.token is None and self.last is None and self.tail == 0
        self.more = answer["nextForwardToken"] != self.token  # AWS gives the same one at the end
        self.token = answer["nextForwardToken"]
        for event in events:
            self.of_last = self.of_last + 1 if event["timestamp"] == self.last else 1
            self.last = event["timestamp"]
        return [] if unwanted else events

    def _request(self) -> dict[str, Any]:
        request = {"logGroupName": self.group, "logStreamName": self.name, "startFromHead": True}
        if self.token is not None:
            return {**request, "nextToken": self.token}
        if self.last is not None:
            return {**request, "startTime": self.last}
        if self.tail is not None:
            # GetLogEvents gives 10,000 at most.
            return {**request, "startFromHead": False, "limit": min(max(1, self.tail), 10_000)}
        return request

    def _joined(self, line: LogLine) -> Iterator[LogLine]:
        """The lines that are whole, with the pieces of a torn metric line put together."""
        held, self.held, self.held_before = self.held, None, False
        if held is not None:
            joined = held.text + line.text
            if len(joined) <= 2 * LONGEST and read_line(joined) and not read_line(line.text):
                yield LogLine(held.moment, joined, line.machine)
                return
            yield held
        # Where a metric line begins and does not end, it may be torn.
        begins = START in line.text or any(line.text.endswith(START[:size]) for size in range(1, len(START)))
        if begins and len(line.text) <= LONGEST and not read_line(line.text):
            self.held = line
        else:
            yield line


@dataclass
class JobLog:
    """The streams of one job, which come and grow while it runs."""

    client: Any
    group: str
    job: str
    tail: int | None = None
    streams: dict[str, LogStream] = field(default_factory=dict)
    unshown: dict[str, list[LogLine]] = field(default_factory=dict)
    looked: bool = False

    def look(self) -> None:
        """Find the streams that there are now; `read` then reads all of them on."""
        found: list[dict[str, Any]] = []
        with suppressed(absent=True):  # the account's first job makes the group
            found = paged(
                self.client,
                "describe_log_streams",
                "logStreams",
                logGroupName=self.group,
                logStreamNamePrefix=f"{self.job}/",
            )
        for name in (stream["logStreamName"] for stream in found):
            # Streams that come later are new lines as a whole.
            self.streams.setdefault(
                name, LogStream(self.client, self.group, name, None if self.looked else self.tail)
            )
        self.looked = True
        for stream in self.streams.values():
            stream.more = True

    def read(self) -> list[LogLine]:
        """The next lines of all streams, by time; each stream's in its order. Empty at the end."""
        while any(stream.more for stream in self.streams.values()) and not any(self.unshown.values()):
            for name, stream in self.streams.items():
                if stream.more:
                    self.unshown.setdefault(name, []).extend(stream.page())
        return self._merged()

    def rest(self) -> list[LogLine]:
        """What was read and not yet given, or held back for its second piece; the job has ended."""
        for name, stream in self.streams.items():
            self.unshown.setdefault(name, []).extend(stream.rest())
        return self._merged()

    def _merged(self) -> list[LogLine]:
        merged = list(heapq.merge(*self.unshown.values(), key=lambda line: line.moment))
        self.unshown = {}
        return merged
