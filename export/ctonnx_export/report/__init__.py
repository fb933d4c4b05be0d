"""Reports of an export.

caveats       caveats that a reader of the report must know
facts         contents of report.json
parity_table  each precision compared with its reference
stress        stress test of the checkpoint
decisions     rule of the decisions, prediction sets, novelty, and what training measured of them
markdown      report.md
model_card    README.md: the model card
"""
