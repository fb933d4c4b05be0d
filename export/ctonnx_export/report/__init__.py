"""Reports of an export.

caveats     caveats that a reader of the report must know
facts       contents of report.json
markdown    report.md
model_card  README.md: the model card
"""
