"""`ctonnx data audit`: unreadable files, copies and leakage of a dataset.

audit   audits a dataset
report  an audit as text
"""
