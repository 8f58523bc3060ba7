"""What looks like a credential, by its form. What is found is named, never shown."""

import re
from collections.abc import Iterator

# Kinds of credentials whose form alone gives them away. AWS's own examples end in EXAMPLE. None may begin
# anew within what an earlier place has looked through: long lines of strangers are searched.
PATTERNS = {
    "an AWS access key id": re.compile(r"\b(?:AKIA|ASIA)(?![A-Z0-9]{9}EXAMPLE\b)[A-Z0-9]{16}\b"),
    "an AWS secret key": re.compile(
        r"(?i)\baws_?(?:secret_?access_?key|secret_?key|session_?token)\b[\"']?\s*[:=]\s*[\"']?"
        r"(?![A-Za-z0-9/+]{0,33}EXAMPLE)[A-Za-z0-9/+=]{40,}"
    ),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,4}PRIVATE KEY-----"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})\b"),
    "a GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{34,}\b"),
    "a Google API key": re.compile(r"\bAIza[A-Za-z0-9_-]{35}\b"),
    "an API key": re.compile(r"(?<![A-Za-z0-9_-])sk-(?:[A-Za-z]{1,32}-){0,4}[A-Za-z0-9_-]{32,}"),
    "a JSON web token": re.compile(
        r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
    ),
    "a password in an address": re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@{}\"']+:[^\s/:@{}\"']{3,}@"),
}


def secrets_in(text: str) -> Iterator[tuple[str, int]]:
    """Kind and place (the offset in `text`) of each secret; at most one of a kind in each line."""
    for kind, pattern in PATTERNS.items():
        end = -1  # of the line in which the last one was found
        for match in pattern.finditer(text):
            if match.start() > end:
                end = text.find("\n", match.start())
                end = len(text) if end < 0 else end
                yield kind, match.start()


def redacted(text: str) -> str:
    """`text` with each secret replaced by its kind."""
    for kind, pattern in PATTERNS.items():
        text = pattern.sub(f"<{kind}>", text)
    return text
