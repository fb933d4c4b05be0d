"""One model that all requests share.

batching        queue before the model, and its batches
classification  result of an uploaded file, or of each of its frames
service         decodes, queues and predicts
"""
