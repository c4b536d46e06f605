"""Servers without a batch API: their lines are run here, one call each."""
