"""The `ctonnx` command line.

standard_streams  null devices for standard streams that are closed
signals           exceptions for SIGTERM and SIGHUP
options           options that several commands share
model_banner      path, provider and caveats of a command's model, on stderr
prediction/       parts of `ctonnx predict`: names on stdin, groups, DICOM objects, shards
commands/         commands of the slim runtime
completion        completion of ctonnx's words in a shell
main              the lazy command group
"""
