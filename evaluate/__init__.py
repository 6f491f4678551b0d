"""Accuracy, latency and the report (imported as prune_dl.evaluate)."""
