"""The HTTP API: OpenAI's and Anthropic's, spoken to gateway and collector over gRPC."""
