"""What receivers compute and look at."""

import datetime
import hashlib
import hmac


def hex_hmac(secret, message):
    """The hex HMAC-SHA256 of a message, keyed with the secret's own bytes."""
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def recent(text, seconds=60):
    """Whether a text is a time in UTC with a Z, and is about now."""
    at = datetime.datetime.fromisoformat(text)
    age = datetime.datetime.now(datetime.timezone.utc) - at
    return text.endswith("Z") and abs(age.total_seconds()) < seconds
