"""Evaluation per patient: one score, one decision and one label from a patient's slices.

slices       slices that a patient's score comes from
aggregation  from the predictions of slices to those of patients
fitting      chooses the aggregate and fits a rule on the validation patients
subgroups    metrics of groups of patients, and tests of their differences
metrics      metrics of patients as a JSON-ready dictionary
report       the same as text
"""
