"""Protocols of the server.

open_inference  Open Inference Protocol v2
triton          additional requests of Triton clients
model_info      `/v1/model`
schemas         schemas of requests and responses
openapi         `/openapi.json`
"""
