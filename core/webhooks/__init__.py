"""Webhooks as HTTP: which urls are taken, how an event is written and signed, and the call.

The only package that knows standardwebhooks and httpcore2.
"""

from core.webhooks.addresses import AddressNotAllowed, Gate
from core.webhooks.messages import Message, new_secret, secret_hint
from core.webhooks.sending import Answer, NoAnswer, Sender
from core.webhooks.urls import MAX_URL, wrong_url
