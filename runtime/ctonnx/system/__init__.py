"""Access to the machine: processor, memory, files and installed packages, and text for messages.

text             plurals, quoted names, escaped control characters, durations, tables
packages         installed libraries, onnxruntime builds and missing extras of ctonnx
procfs           Linux control groups and one-line files of /proc and /sys
cpu              cores that the process may use, instruction sets, architecture
nvidia           NVIDIA driver and GPUs
memory           memory limit of the process, and memory reserved for decoding images
temporary_files  temporary names, and removal of the files of killed processes
file_reading     opens regular files and limits the number of bytes read
files            files and folders that are written completely or not at all; SHA-256
"""
