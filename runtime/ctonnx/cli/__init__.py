"""The `ctonnx` command line.

standard_streams  standard streams of a process that was started without them
signals           clean exit at SIGTERM, SIGHUP and Ctrl-C
options           options that several commands share
model_banner      what a command reports about its model
commands/         commands of the slim runtime
main              the lazy command group
"""
