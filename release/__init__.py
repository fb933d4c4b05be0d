"""The files of a release, built by `make release`; it works in a checkout only.

- `build`: wheel and source archive, each built twice and compared; bill of materials; checksums
- `pinned`: the requirements of the containers, with hashes
- `third_party`: THIRD_PARTY.md, the licenses of all packages that ctonnx may install
"""
