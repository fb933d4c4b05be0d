"""From samples to results.

statistics     measurements of a case and warnings about noise
speedup        speedup over PyTorch or FP32, round by round
best_settings  best settings of a sweep
earlier        report of an earlier benchmark
regression     regression gate against an earlier benchmark
"""
