"""The offline installation: collects wheels for a machine without a network, in parts that a script joins there.

standards     the packaging standards: requirements, markers, tags
target        the machine that the wheels are for: Python version, platform, environment markers
placeholders  empty wheels that represent the packages of the machine
pip_calls     pip: builds the wheel of ctonnx, resolves the requirements for the target, downloads
checking      reads the wheels: does the target find every requirement?
parts         packs wheels into parts of a limited size
join          the script that checks and joins the parts on the other machine, with the standard library alone
bundle        the folder to carry: parts, script, hashes, requirements, README
cli           `python -m ctonnx_offline`
"""
