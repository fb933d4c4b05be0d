"""`ctonnx data audit`: unreadable files, copies and leakage of a dataset.

audit   reads every image and compares each with each
report  an audit as text
"""
