"""Measures cases: processes, rounds, sensors.

interleaving  interleaved rounds and paired ratios
child         a measurement in a child process
processes     processes measured from outside
sensors       memory, energy and clocks
without_amx   runs a command as on a processor without AMX
environment   machine, limits and versions
worker        one case in its process: cold start, timed runs, memory
rounds        all cases in interleaved rounds
"""
