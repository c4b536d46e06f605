"""HTTP to a provider: one client, what is repeated, what a failure means, what is measured."""
