"""INT8 quantization: calibration, schemes, search.

settings         settings of a user
calibration      activation ranges from calibration images
amx              weights for processors with AMX
qdq              quantize and dequantize nodes by a scheme
input_stem       pixels to the first convolution, in integers
bias_correction  correction of the logits' mean error
sensitivity      which layers' quantization changes the outputs most
search           search for a scheme that passes its gate
"""
