"""The Open Inference Protocol v2 over gRPC: each call is a request to the HTTP application, whose rules decide.

messages     messages of the protocol and of gRPC's health checking
translation  from a call to a request's body, and from a response's body to the message
calls        the methods, as requests to the application
listener     the port

Only this package imports what the extra `[grpc]` installs.
"""
