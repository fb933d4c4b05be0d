"""Checks of a model on this device.

verification      replays golden inputs
candidates        the providers that are installed, with their model files
kept_choice       the files in which the fastest provider is kept
fastest_provider  `--provider auto`: the fastest one that passes the verification
"""
