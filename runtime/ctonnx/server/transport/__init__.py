"""Sockets, connections, authentication, request limits and uploads.

errors      error responses: a status and one sentence
budgets     memory of all uploads, pixels of one request
file_names  file names in a multipart body
multipart   files of a raw or multipart body
uploads     bodies within limits of bytes and time
middleware  headers of every response, API keys, requests in progress
connection  HTTP connections with time limits
lifecycle   listening sockets, signals, graceful shutdown
"""
