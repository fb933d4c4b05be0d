"""`ctonnx serve`, a page for people and an HTTP API for programs, and `ctonnx node` for a PACS.

settings    limits of a request, queue, API keys
monitoring/ what happens in use: metrics, a log of counts, and whether they have changed
transport/  sockets, connections, request limits, uploads
engine/     queue, batches and predictions of one model
api/        protocols and the OpenAPI document
app         the routes
grpc/       the Open Inference Protocol over gRPC
page/       the page
pacs/       results as DICOM objects, and a DICOM node

Only this package imports what the extras `[serve]`, `[grpc]` and `[pacs]` install.
"""
