"""Real-time calls to a server that has OpenAI's files and batches, or Mistral's jobs over them.

A line's body is that of a call as it is, but for the tier. The address of a call lies beside those
of files and batches under the base URL, whatever version stands before it in the url of a batch's
lines.
"""

from __future__ import annotations

import re
from dataclasses import replace

from core.endpoints import IMAGE_EDITS, OPENAI
from core.providers.direct.adapter import OpenAICalls
from core.providers.direct.contract import CallLimits
from core.providers.http.client import ProviderHttp
from core.providers.openai.bodies import TIER
from core.providers.openai.dialect import Dialect

_VERSION = re.compile(r"^/v\d+(?=/)")


def called(endpoints: frozenset[str]) -> frozenset[str]:
    """Those that a single call can be made for with the body of a batch's line.

    A call that edits images sends them as forms (openai 3.54 resources/images.py).
    """
    return endpoints - {IMAGE_EDITS}


def dialect_calls(http: ProviderHttp, dialect: Dialect, call_limits: CallLimits) -> OpenAICalls:
    """Single calls with the key of `http`."""
    return OpenAICalls(
        http,
        slug=dialect.slug,
        limits=replace(dialect.limits, endpoints=called(dialect.limits.endpoints)),
        call_limits=call_limits,
        urls={url: _VERSION.sub("", dialect.served(url)) for url in OPENAI},
        translates_responses=dialect.translates_responses,
        limit_field=dialect.limit_field,
        drops_nulls=dialect.drops_nulls,
        left_out=(TIER,),
    )
