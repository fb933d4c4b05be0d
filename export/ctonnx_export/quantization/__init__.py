"""INT8 quantization: calibration, schemes, search.

settings         settings of the quantization
calibration      activation ranges from calibration images
amx              weights in the form that AMX kernels accept
qdq              insertion of quantize and dequantize nodes by a scheme
input_stem       a cheaper path from the pixels through the first convolution
bias_correction  correction of the logits' mean error
search           search for a scheme whose model passes its gate, and the images that judge it
learned          INT8 that learns: a candidate's weights and scales, trained on the outputs of FP32
"""
