"""Reports of an export.

caveats     what a reader of the report has to know
facts       report.json
markdown    report.md
model_card  the model card
"""
