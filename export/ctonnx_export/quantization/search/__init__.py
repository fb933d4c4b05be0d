"""Search for an INT8 model that agrees with its FP32 original, judged by images that did not choose it.

sensitivity    ranking of the layers by the effect of their quantization
judging        division into images that choose a candidate and images that judge it
scheme_search  search for a scheme whose model passes its gate
"""
