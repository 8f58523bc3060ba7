"""Text from AWS and from jobs, before it is shown: without credentials."""

import os
import re

from trapline.launching.checking.secret_patterns import redacted

OWN = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECURITY_TOKEN")
SHORTEST = 16  # characters of a credential; a shorter value of these variables is a test's, or a placeholder
HIDDEN = "<hidden>"
# A signed request, as it stands in the messages of connections and of refused signatures.
SIGNED = re.compile(
    r"(?i)((?:X-Amz-(?:Credential|Signature|Security-Token)|AWSAccessKeyId|\bSignature)\s*[=:]\s*)[^\s&,;\"']+"
)
# Session tokens of AWS's sign-in service, wherever they stand.
TOKEN = re.compile(r"\b(?:FwoG|IQoJ|FQoG|AQoD)[A-Za-z0-9+/=]{60,}")


def without_credentials(text: str) -> str:
    """`text` with this process's own AWS credentials, and what looks like others', replaced."""
    for name in OWN:
        value = os.environ.get(name, "")
        if len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    return redacted(TOKEN.sub(HIDDEN, SIGNED.sub(rf"\1{HIDDEN}", text)))
