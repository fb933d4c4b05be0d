"""The `ctonnx` command line.

standard_streams  null devices for standard streams that are closed
signals           exceptions for SIGTERM and SIGHUP
options           options that several commands share
model_banner      path, provider and caveats of a command's model, on stderr
stdin_names       file names on stdin
dicom_results     DICOM objects of `ctonnx predict --dicom-out`
group_prediction  rows of `ctonnx predict --by`
commands/         commands of the slim runtime
main              the lazy command group
"""
