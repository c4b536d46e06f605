"""OpenAI's files, uploads, batches and models, as its SDKs speak them."""
