"""The stress test: the same scan, acquired otherwise, must not change its decision.

transforms   the changes of a decoded scan, each in up to three strengths
changes      numbers of decisions and classes that a change alters
stress_test  runs a model on the changed scans of an evaluation
gate         the changes that alter more decisions than a bound allows
report       Markdown tables, and stress.json of a run
plot         shares of altered decisions by change and strength
"""
