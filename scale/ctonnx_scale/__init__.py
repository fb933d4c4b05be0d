"""`ctonnx predict --engine ray`: images of an archive or an object store, predicted by actors of Ray Data.

storage  files of object stores: listed, and read as bytes
rows     the Parquet schema: records to rows
parts    folder of Parquet files, each written completely or not at all, and the files that it has already
names    file names as Arrow columns, and those that are left
cluster  connection to a Ray cluster, or one on this machine
journal  batches in progress, to find files that end their process
actor    one model in one process: file names in, rows out
engine   file names to batches to parts, with what went wrong counted
cli      the options of the command
"""
