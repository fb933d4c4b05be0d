"""`ctonnx serve`: a page for people and a protocol for programs, on one `Predictor`.

app         the routes, and what every request goes through
service     one model: decodes, waits for its turn, answers
batching    the queue before the model, and its batches
classify    what is answered for an uploaded file
protocol    the Open Inference Protocol v2: JSON tensors and the binary extension
uploads     bodies within limits of bytes and time, multipart in memory
security    headers, the key, errors without internals
metrics     for Prometheus
openapi     the document that describes all this
running     sockets, signals, a stop that finishes what it has

Everything from the extra `[serve]` is imported in here alone.
"""
