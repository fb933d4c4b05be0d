"""The GPU kit: one command that measures and checks everything on a bare machine with an NVIDIA GPU.

wheels    installs what the machine lacks from a folder of wheels
settings  sizes of the kit on a GPU, and of its rehearsal on a CPU
step      a step's recorded values, and its state
steps/    the steps, in one process each
worker    process of one step
report/   JSON, Markdown and plots
kit       runs the steps within a budget of time
cli       `python -m ctonnx_bench.gpu`
"""
