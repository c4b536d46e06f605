"""Object storage: how it is reached, and for how long a call may try.

Access is taken from the variables of the vendors' own tools. For S3 and its like:
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL,
and all others of https://docs.rs/object_store/latest/object_store/aws/enum.AmazonS3ConfigKey.html;
without keys, the roles of EC2, ECS and EKS are used.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.exceptions import BaseError
from obstore.store import from_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

# Together they bound a call to a minute: the last try begins before the retry timeout.
_REQUEST_TIMEOUT = timedelta(seconds=30)
_RETRIES: RetryConfig = {
    "max_retries": 5,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=3),
        "base": 2,
    },
}
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT")
_ALLOWANCES = ("AWS_ALLOW_HTTP", "AZURE_ALLOW_HTTP", "GOOGLE_ALLOW_HTTP")


def open_remote(url: str) -> ObjectStore:
    """Open object storage at s3://, gs:// or az://; nothing is sent yet.

    Raises ValueError, with what is wrong with the URL or the variables.
    """
    # With options of its own, obstore takes those of the environment no more.
    options: ClientConfig = {"timeout": _REQUEST_TIMEOUT, "allow_http": _http_allowed()}
    try:
        return from_url(url, client_options=options, retry_config=_RETRIES)
    except BaseError as error:
        raise ValueError(str(error).splitlines()[0]) from error


def _http_allowed() -> bool:
    """Whether the operator has asked for an endpoint without TLS."""
    if any(os.environ.get(name, "").lower().startswith("http://") for name in _ENDPOINTS):
        return True
    return any(os.environ.get(name, "").lower() in ("true", "1") for name in _ALLOWANCES)
