"""Reports of an export.

caveats       caveats that a reader of the report must know
facts         contents of report.json
parity_table  each precision compared with its reference
stress        stress test of the checkpoint
markdown      report.md
model_card    README.md: the model card
"""
