"""Checks of a model on this device.

verification      replays golden inputs
fastest_provider  `--provider auto`: the fastest one that passes the verification
"""
