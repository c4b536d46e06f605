"""What to do about a line that failed, by its error code.

Codes: of the providers' fact sheets and current types (openai 3.54.0, anthropic 2.12.0,
google.rpc.Code and google-genai 3.4.0), of the check at upload, and our own. A test reads the
tables of codes and fails where one has no hint.
"""

from __future__ import annotations

_AGAIN = "`polybatch retry`"

_HINTS: tuple[tuple[str, str], ...] = (
    # Ours: a batch ended before the line was answered.
    (
        "batch_expired",
        f"The completion window was too short for these lines: send them again with {_AGAIN}, with "
        "a longer --window, or with --rescue-before on the next batch.",
    ),
    ("batch_cancelled", f"The batch was cancelled first. {_AGAIN} sends these lines after all."),
    (
        "cost_limit",
        "These lines were not sent, as they could have cost more than the batch's max cost: "
        f"{_AGAIN} with a higher --max-cost, or lower max_tokens in each line.",
    ),
    (
        "canary_failed",
        "These lines were not sent, as too many of the canary failed: mend what the other causes "
        f"name, then {_AGAIN}.",
    ),
    (
        "failure_limit",
        "These lines were not sent, as too many others had failed: mend what the other causes "
        f"name, then {_AGAIN}.",
    ),
    (
        "result_missing",
        "The provider gave no result, and may have billed the line: where a second charge is no "
        f"harm, send it again with {_AGAIN}.",
    ),
    (
        "results_expired",
        "The provider had deleted the results before they could be fetched: "
        f"{_AGAIN} runs the lines anew, and they are paid for again.",
    ),
    # Ours: the answer was of no use.
    (
        "empty_answer no_answer unknown_result abort insufficient_system_resource OTHER "
        "MALFORMED_RESPONSE cancelled queued in_progress IMAGE_OTHER NO_IMAGE",
        f"The model gave no answer that can be used. It often does the second time: {_AGAIN}.",
    ),
    (
        "unreadable_answer",
        "The provider's answer has a form that polybatch does not know; the result line has it "
        "whole. Please report it.",
    ),
    (
        "provider_error error failed UNKNOWN",
        "The provider said no more than this. Look at the message, and try a few of these lines "
        f"again with {_AGAIN}; if they fail alike, ask the provider.",
    ),
    # Ours: the provider could not be used.
    (
        "provider_not_configured",
        "The service has no key for this provider: have its operator set one (`polybatch "
        f"providers` names the variable), then {_AGAIN}.",
    ),
    (
        "input_file_missing",
        "The input file was deleted before its lines were sent: upload it again.",
    ),
    (
        "provider_batch_failed upload_failed upload_too_slow unreachable",
        f"The provider did not take the lines. {_AGAIN} once `polybatch providers` shows it well.",
    ),
    # Keys, access and money at the provider.
    (
        "invalid_api_key authentication_error API_KEY_INVALID UNAUTHENTICATED refused_key "
        "http_401 401",
        "The provider refuses the service's key: have its operator set one that works (`polybatch "
        f"providers` shows which is refused), then {_AGAIN}.",
    ),
    (
        "permission_error PERMISSION_DENIED input_no_permissions http_403 403 "
        "unsupported_country_region_territory data_residency_mismatch",
        "The service's key may not use this model or feature: have it allowed at the provider, or "
        "name another model.",
    ),
    (
        "billing_error billing_hard_limit_reached insufficient_quota http_402 402",
        "The service's account at the provider has no credit left or has reached its own limit: "
        f"have it raised there, then {_AGAIN}.",
    ),
    # Passing reasons, after the retries of the batch.
    (
        "rate_limit_exceeded rate_limit_error RESOURCE_EXHAUSTED rate_limit requests tokens "
        "http_429 429",
        "The provider's rate limit held these lines back for all their tries: "
        f"{_AGAIN} when less is running, or have the limit raised at the provider.",
    ),
    (
        "server_error api_error overloaded_error INTERNAL UNAVAILABLE ABORTED DATA_LOSS http_500 "
        "http_502 http_503 http_529 500 502 503 529",
        f"The provider had trouble of its own, for all tries. {_AGAIN} later.",
    ),
    (
        "timeout_error request_timeout DEADLINE_EXCEEDED CANCELLED vector_store_timeout http_408 "
        "http_499 http_504 408 499 504",
        f"The provider took too long or broke off. {_AGAIN} later; if it stays, ask for shorter "
        "answers (max_tokens) or less reasoning.",
    ),
    (
        "conflict_error ALREADY_EXISTS http_409 409 http_425 425",
        f"The provider was changing something at the time. {_AGAIN} later.",
    ),
    (
        "token_limit_exceeded",
        "The line alone is larger than what may be enqueued for this model: shorten it, use "
        "another model, or have the limit raised at the provider.",
    ),
    # The model or the endpoint.
    (
        "model_not_found not_found_error NOT_FOUND http_404 404 unknown_model model_retired "
        "not_in_batches model_endpoint_mismatch",
        "The provider has no such model for this endpoint, or not for this key: look at the name "
        "in the message, and at the provider's list of models for batches.",
    ),
    (
        "invalid_model model_too_long too_many_models empty_model",
        "Name the model in `body.model` as the provider does, and no more models in a file than "
        "the message allows.",
    ),
    (
        "model_provider_mismatch model_of_another_provider unknown_provider ambiguous_provider "
        "kind_mismatch",
        "Provider and model of the line do not fit together: name the provider in the line's "
        "`provider`, as `polybatch providers` spells it, or leave it out.",
    ),
    (
        "unsupported_endpoint endpoint_not_supported invalid_url url_mismatch "
        "invalid_method unsupported_method UNIMPLEMENTED http_405 405",
        "Use `POST` and one of the endpoints that the message names, the same in all lines of a "
        "file.",
    ),
    (
        # Of the line's own url, and of one of an image or a file in it.
        "unsupported_url",
        "Give what the message names: for the line's `url` one of the endpoints, for an image or "
        "a file its data, or an address that the provider takes.",
    ),
    (
        "mismatched_model model_mismatch",
        "The provider wants one model in each of its batches: send the line again with "
        f"{_AGAIN}; if it fails alike, please report it.",
    ),
    (
        "empty_file empty_batch too_many_tasks input_modified",
        "The provider did not take the batch as it was cut. "
        f"{_AGAIN} cuts it anew; if it fails alike, please report it.",
    ),
    # The form of a line.
    (
        "invalid_json invalid_json_line invalid_utf8 byte_order_mark lone_surrogate not_an_object "
        "doubled_key nested_too_deeply line_too_long not_json_lines",
        "The line is not one JSON object that can be read: write it anew with a JSON library, one "
        "object a line, in UTF-8 without a byte order mark.",
    ),
    (
        "duplicate_custom_id custom_id_too_long",
        "Give each line a `custom_id` of its own, within the length that the message names.",
    ),
    (
        "missing_field missing_required_parameter empty_field empty_content missing_user_message "
        "first_message_not_user missing_tools",
        "Something that has to be there is missing or empty: add what the message names.",
    ),
    (
        "wrong_type invalid_type out_of_range number_out_of_range invalid_value "
        "string_above_max_length array_above_max_length integer_above_max_value "
        "integer_below_min_value decimal_above_max_value decimal_below_min_value OUT_OF_RANGE "
        "invalid_arguments",
        "A value has the wrong type or is out of range: set it to what the message expects.",
    ),
    (
        "unsupported_value unsupported_parameter unsupported_field unknown_field unknown_parameter "
        "unsupported_content unsupported_role unsupported_tool unsupported_schema "
        "unsupported_prefill unknown_form too_complex_schema",
        "This model or provider does not take that. Leave it out or change it as the message says; "
        "what a provider only lacks, `--lenient` leaves out for you.",
    ),
    (
        "streaming_unsupported",
        "Batches do not stream: take `stream` out of the body.",
    ),
    (
        "duplicate_tool duplicate_tool_call tool_call_without_result tool_result_without_call "
        "UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS MALFORMED_FUNCTION_CALL "
        "MISSING_THOUGHT_SIGNATURE",
        "Tools, their calls and the results of these do not fit together: check that each call has "
        f"its result and each tool is declared once. If the model called wrongly, {_AGAIN} may do.",
    ),
    (
        "beta_not_enabled",
        "The line asks for a beta feature that has to be named: add it to the line's `betas`, as "
        "the message says.",
    ),
    # Pictures, documents, files.
    (
        "image_too_large document_too_large too_many_images request_too_large http_413 413",
        "The line is too large for the provider: send smaller or fewer images and documents, or "
        "less text.",
    ),
    (
        "unsupported_media_type media_type_mismatch invalid_base64 encrypted_document "
        "unsupported_file_id invalid_image_url invalid_image_format invalid_image "
        "image_parse_error invalid_base64_image empty_image_file failed_to_download_image "
        "image_file_not_found image_file_too_large image_too_small unsupported_image_media_type "
        "invalid_image_mode",
        "An image or document cannot be used as it is given: send it in a form that the message "
        "names, whole, not encrypted, and by url only where the provider can reach it.",
    ),
    (
        "context_length_exceeded model_context_window_exceeded string_too_long",
        "Prompt and answer are longer than the model's context: shorten the prompt, lower "
        "max_tokens, or use a model with a larger context.",
    ),
    (
        "content_filter content_policy_violation image_content_policy_violation invalid_prompt "
        "refusal SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY "
        "IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION ESCALATION MODEL_ARMOR PUP_LIMITED_DISABLED "
        "JAILBREAK moderation_blocked bio_policy "
        "misalignment_policy_violation",
        "The provider's policy kept the line from an answer: change what it asks for, or use "
        "another model.",
    ),
    (
        "invalid_request_error invalid_request INVALID_ARGUMENT FAILED_PRECONDITION http_400 "
        "http_422 400 422",
        "The provider refuses the request as it is: change the field that the message names, and "
        "try one line before the rest.",
    ),
)

HINTS = {code: text for codes, text in _HINTS for code in codes.split()}
_UNKNOWN = (
    "A code that polybatch does not know: the message is the provider's own. Try one of these "
    "lines alone before the rest."
)


def hint(code: str) -> str:
    """What to do about lines with this error code, for people; never empty."""
    found = HINTS.get(code)
    if found is None and (status := code.removeprefix("http_")).isdecimal() and len(status) == 3:
        found = HINTS["server_error" if status >= "500" else "invalid_request_error"]
    return found or _UNKNOWN
