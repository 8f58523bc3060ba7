"""Asking AWS while a job is waited for: what passes is waited out, and said once.

SageMaker's answers may be some seconds behind: for a moment it does not know a job that it has just taken.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from trapline.launching.aws.errors import explain, is_absent, will_pass
from trapline.launching.terminal import duration

if TYPE_CHECKING:
    import boto3

Answer = TypeVar("Answer")
FIRST_PAUSE, MAX_PAUSE = 5.0, 60.0  # seconds; each pause is twice the one before
NEW_FOR = 60.0  # seconds that AWS may take to know what it has made
# The pauses are here: botocore's own would keep silent for minutes.
QUICK = {
    "retries": {"mode": "standard", "total_max_attempts": 3},
    "connect_timeout": 10,
    "read_timeout": 30,
}


@dataclass(frozen=True)
class Clients:
    """The services that a waiting program asks."""

    sagemaker: Any
    logs: Any


def make_clients(session: "boto3.Session", region: str | None = None) -> Clients:
    """Clients that give up soon; `region`: another than the session's."""
    from botocore.config import Config

    config = Config(**QUICK)
    return Clients(
        *(session.client(name, region_name=region, config=config) for name in ("sagemaker", "logs"))
    )


def ask_until_known(
    question: Callable[[], Answer],
    subject: str,
    say: Callable[[str], None] = print,
    patience: float = NEW_FOR,
) -> Answer:
    """The answer to a question about something that AWS has made, or may have made, a moment ago.

    `subject`: what it is, as in `training job night-run`. `patience`: seconds, as pauses count them, for
    which "there is no such thing" is asked again. Raises what botocore raises, that answer too in the end.
    """
    waited = 0.0
    while True:
        try:
            return question()
        except Exception as error:
            if not is_absent(error) or waited >= patience:
                raise
        if not waited:
            say(f"{subject}: AWS does not know what it has just made; it is asked for {duration(patience)}")
        time.sleep(FIRST_PAUSE)
        waited += FIRST_PAUSE


class Contact:
    """Asks until there is an answer. Says once that there is none, and when there is one again."""

    def __init__(self, subject: str, say: Callable[[str], None]) -> None:
        """`subject`: what goes on meanwhile, as in `training job night-run`."""
        self.subject, self.say = subject, say
        self.lost: float | None = None  # since when there is no answer

    def ask(self, question: Callable[[], Answer], patience: float = NEW_FOR) -> Answer:
        """The answer. Raises what botocore raises where asking again would not help.

        `patience`: as for `ask_until_known`; 0: what AWS does not know is not there.
        """
        return ask_until_known(lambda: self._answered(question), self.subject, self.say, patience)

    def _answered(self, question: Callable[[], Answer]) -> Answer:
        pause = FIRST_PAUSE
        while True:
            try:
                answer = question()
            except Exception as error:
                if not will_pass(error):
                    raise
                self.trouble(error)
            else:
                self.well()
                return answer
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE)

    def trouble(self, error: Exception) -> None:
        """Say, the first time, that AWS does not answer."""
        if self.lost is None:
            self.lost = time.monotonic()
            self.say(f"{explain(error, self.subject)}; it goes on, and is asked for again until AWS answers")

    def well(self) -> None:
        """Say, after trouble, that AWS answers again."""
        if self.lost is not None:
            self.say(f"{self.subject}: AWS answers again, after {duration(time.monotonic() - self.lost)}")
            self.lost = None
