"""Origin of a model: its maker, and the parts that it is made of.

signature  file of a signature: the key and the files that it names, and the files that none covers
keys       EC keys in PEM files, and their fingerprints; needs the extra sign
trust      checks the signature of a model's folder, and reads the bytes that were signed; needs the extra sign
signing    signs a folder; needs the extra sign
bom        machine-learning bill of materials in CycloneDX's format
"""
