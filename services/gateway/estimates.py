"""BatchService.EstimateBatch: an estimate as clients see it, and in words how it was reckoned."""

from __future__ import annotations

from datetime import UTC

from google.type.money_pb2 import Money  # type: ignore[import-untyped]
from polybatch.v1 import batches_pb2

from core.blobs import BlobMissing, BlobStore
from core.ledger import FIRST_BYTES_PER_TOKEN, Learned, Ledger, now
from core.pipeline import Basis
from core.pipeline.messages import money
from services.gateway.estimating import Estimate, Estimator, ModelEstimate, Range
from services.gateway.file_refusals import file_not_found, refuse_empty
from services.gateway.prices import PROCESSING


class BatchEstimates:
    """Estimates of the files of accounts."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, estimator: Estimator) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._estimator = estimator

    async def of(
        self, account_id: str, file_id: str, *, lenient: bool
    ) -> batches_pb2.BatchEstimate:
        """What a batch of a file would cost if it was made now."""
        file = await self._ledger.files.get(account_id, file_id)
        if file is None:
            raise file_not_found(file_id)
        await refuse_empty(self._blobs, file, lenient=lenient)
        day = now().astimezone(UTC).date()
        prices = await self._estimator.prices_for(account_id, file, day, lenient=lenient)
        try:
            found = await self._estimator.of_file(account_id, file, prices, lenient=lenient)
        except BlobMissing:
            raise file_not_found(file_id) from None
        return _message(file_id, found)


def _message(file_id: str, estimate: Estimate) -> batches_pb2.BatchEstimate:
    return batches_pb2.BatchEstimate(
        input_file_id=file_id,
        line_count=estimate.lines,
        total=_range(estimate.total),
        models=map(_model, estimate.models),
    )


def _model(found: ModelEstimate) -> batches_pb2.ModelEstimate:
    return batches_pb2.ModelEstimate(
        provider=found.provider,
        model=found.model,
        processing=PROCESSING[found.processing],
        line_count=found.lines,
        range=_range(found.range),
        unpriced=found.unpriced.message if found.unpriced else "",
        unlimited_line_count=found.unlimited_lines,
        basis=basis_in_words(found.basis),
    )


def _range(found: Range) -> batches_pb2.CostRange:
    return batches_pb2.CostRange(
        prompt_tokens_expected=found.prompt_expected,
        prompt_tokens_at_most=found.prompt_at_most,
        output_tokens_expected=found.output_expected,
        output_tokens_at_most=found.output_at_most or 0,
        expected=_money(found.cost.expected),
        at_most=_money(found.cost.at_most),
        real_time_expected=_money(found.real_time.expected),
        real_time_at_most=_money(found.real_time.at_most),
    )


def _money(nanos: int | None) -> Money | None:
    return None if nanos is None else money(nanos)


def basis_in_words(basis: Basis) -> str:
    """How lines of a model were reckoned, for people."""
    learned = basis.learned
    if learned == Learned():
        text = f"{FIRST_BYTES_PER_TOKEN:.1f} bytes of text a token, as nothing is learned yet"
    else:
        text = f"{learned.bytes_per_token:.1f} bytes of text a token, learned from its answers"
        if learned.media_factor != 1:
            text += f"; images and files {learned.media_factor:.2f} times the provider's rule"
    length = basis.length
    if length is None:
        return (
            f"{text}; answers of {basis.answer_tokens:,} tokens, as assumed "
            "(POLYBATCH_ASSUMED_OUTPUT_TOKENS)"
        )
    whose = "this account's" if length.of_account else "the installation's"
    mean = f"the mean of {whose} {length.lines:,} lines of the last 90 days"
    return f"{text}; {length.tokens:,} tokens a line, {mean}"
