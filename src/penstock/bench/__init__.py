"""Measuring: contestants that do the same work, a referee that lets them run in turn, a report.

A contestant is ``module:function`` that makes a Lap of a Task (task): bare decode (limit), Pillow and NumPy by hand
(pillow_loops), Penstock's engines (penstock_runs). Each runs in a process of its own (worker); the referee (interleave)
lets them run in turn. choose picks the files that all of them decode, report makes the table, machine names the CPU.
verify is about pixels, not speed: every image against Pillow.
"""
