"""Parts of `ctonnx predict`.

stdin_names       file names on stdin
dicom_results     DICOM objects of --dicom-out
group_prediction  rows of --by
parts             --shard, --resume and --merge
"""
