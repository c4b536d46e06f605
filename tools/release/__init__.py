"""What makes a release: `make dist` and `make release` run it. Nothing here publishes anything."""
