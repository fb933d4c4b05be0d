"""`ctonnx serve`: a page for people and a protocol for programs, on one `Predictor`.

settings    limits, the queue, the key
listening   sockets, signals, a stop that finishes what the server has
wire        a connection, with a time limit for a request's head
security    what stands before the routes: headers, the key
app         the routes
uploads     bodies within limits of bytes and time; multipart in memory
service     one model: files are decoded, wait for their turn, are answered
file_names  what clients call their files
batching    the queue before the model, and its batches
classify    what is answered for a file
protocol    the Open Inference Protocol v2: JSON tensors and the binary extension
triton      what Triton's clients ask besides
facts       what /v1/model says
metrics     for Prometheus
openapi     the document that describes all this
refusals    what a request is answered with when it is not done

Everything from the extra `[serve]` is imported in here alone.
"""
