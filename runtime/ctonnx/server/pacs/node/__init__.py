"""A DICOM node.

settings   addresses, AE titles, limits
spool      received instances and results on the disk
outbox     the queue of results
receiver   the DICOM server: C-ECHO and C-STORE
sender     C-STORE and STOW-RS to the destinations
worker     from a complete series to its results
node       all of these together
status     the state of a node's folder
page       the page, health and metrics over HTTP
"""
