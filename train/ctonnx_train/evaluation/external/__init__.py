"""`ctonnx evaluate --external`: an exported model on data whose classes are others.

question  the question that the model and the data share: which of the data's classes are positive
verdict   whether the operating point holds on other scans
leaks     scans and patients of the model's training
shift     differences between the scans and the training images
external  `evaluate_external`
report    the result as text and files
"""
