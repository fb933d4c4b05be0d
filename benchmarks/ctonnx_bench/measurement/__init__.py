"""Measures cases: processes, rounds, sensors.

interleaving  measurements in turn on a machine that drifts
child         a measurement in a process of its own
processes     processes that are measured from outside
sensors       memory, energy and clocks
without_amx   runs a command as on a processor without AMX
environment   machine, limits and versions
worker        one case in its process
rounds        all cases in interleaved rounds
"""
