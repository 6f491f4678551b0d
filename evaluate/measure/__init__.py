"""Accuracy and latency, measured."""
