"""From samples to results.

statistics     statistics of a case and warnings about noise
speedup        speedup over PyTorch or FP32, by rounds
best_settings  best settings of a sweep
earlier        results of an earlier benchmark
regression     regression gate against an earlier benchmark
"""
