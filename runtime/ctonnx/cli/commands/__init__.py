"""Commands that need only the slim runtime; each is imported when it is called.

demo     `ctonnx demo`
doctor   `ctonnx doctor`
drift    `ctonnx drift`
inspect  `ctonnx inspect`
node     `ctonnx node`
predict  `ctonnx predict`
serve    `ctonnx serve`
sign     `ctonnx sign`
verify   `ctonnx verify`
"""
