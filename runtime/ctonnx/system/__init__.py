"""What the machine gives: processor, memory, files, installed packages, and text for people.

text             plurals, quoted names, escaped control characters, durations, tables
packages         installed libraries, onnxruntime builds and missing extras of ctonnx
procfs           Linux control groups and one-line files of /proc and /sys
cpu              cores that the process may use, instruction sets, architecture
nvidia           NVIDIA driver and GPUs
memory           memory limit, and the memory that images may take while they are decoded
temporary_files  temporary names, and removal of those that a killed process left behind
file_reading     opens regular files and limits the number of bytes read
files            files and folders that are written completely or not at all; SHA-256
"""
