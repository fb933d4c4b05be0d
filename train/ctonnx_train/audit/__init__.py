"""`ctonnx data audit`: unreadable files, copies, leakage and shortcuts of a dataset.

facts            facts of an image that are not anatomy
near_duplicates  perceptual hashes, and groups of similar ones
shortcuts        whether facts that are not anatomy predict the class
training_images  the quick audit of a training
audit            reads every image and compares each with each
report           an audit as text
"""
